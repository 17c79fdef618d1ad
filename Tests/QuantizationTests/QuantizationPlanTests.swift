import Formats
import Quantization
import Testing

@Suite struct QuantizationPlanTests {
  static let names: [String] = {
    var names = ["model.embed_tokens.weight"]
    for layer in 0..<11 {
      let prefix = "model.layers.\(layer)"
      names += ["\(prefix).input_layernorm.weight"]
      for projection in ["q", "k", "v", "o"] { names.append("\(prefix).self_attn.\(projection)_proj.weight") }
      names += ["\(prefix).self_attn.q_proj.bias", "\(prefix).self_attn.q_norm.weight"]
      names += ["\(prefix).post_attention_layernorm.weight"]
      for projection in ["gate", "up", "down"] { names.append("\(prefix).mlp.\(projection)_proj.weight") }
    }
    return names + ["model.norm.weight", "lm_head.weight"]
  }()

  static func error(_ selection: TensorSelection, _ names: [String] = names) -> QuantizationError? {
    do {
      _ = try selection.resolve(names)
      return nil
    } catch { return error }
  }

  @Test func theDefaultTakesTheDecoderLinearsOnly() throws {
    let plan = try TensorSelection().resolve(Self.names, activations: .mxint8)
    #expect(plan.quantized.count == 11 * 7)
    #expect(plan.quantized.allSatisfy { $0.hasSuffix("_proj.weight") })
    #expect(plan.fullPrecision.count == Self.names.count - 77)
    #expect(plan.activations == .mxint8)
    // Total, in the checkpoint's order.
    #expect(Self.names.filter(plan.isQuantized) == plan.quantized)
    #expect(Self.names.filter { !plan.isQuantized($0) } == plan.fullPrecision)
  }

  @Test func exclusionsAreTakenAway() throws {
    let selection = TensorSelection(exclude: ["model.layers.{0,10}.**", "**.down_proj.weight"])
    let plan = try selection.resolve(Self.names)
    #expect(plan.quantized.count == 9 * 6)
    #expect(!plan.isQuantized("model.layers.10.self_attn.q_proj.weight"))
    #expect(plan.isQuantized("model.layers.1.self_attn.q_proj.weight"))
  }

  @Test func aPatternThatMatchesNothingNamesTheNearestName() throws {
    let misspelt = try #require(Self.error(TensorSelection(include: ["model.layers.*.self_attn.qq_proj.weight"])))
    #expect(misspelt.subject == .include)
    #expect(misspelt.found.contains("model.layers.*.self_attn.qq_proj.weight"))
    #expect(misspelt.hint.contains("model.layers.0.self_attn.q_proj.weight"))

    let excluded = try #require(Self.error(TensorSelection(exclude: ["lm_heat.weight"])))
    #expect(excluded.subject == .exclude)
    #expect(excluded.hint.contains("lm_head.weight"))
  }

  @Test func everyAlternativeMustMatch() throws {
    let error = try #require(Self.error(TensorSelection(include: ["model.layers.*.self_attn.{q,k,vv}_proj.weight"])))
    #expect(error.found.contains("'model.layers.*.self_attn.vv_proj.weight'"))
    #expect(error.hint.contains("v_proj"))
  }

  @Test func aStarThatShouldCrossDotsIsExplained() throws {
    let error = try #require(Self.error(TensorSelection(include: ["*.q_proj.weight"])))
    #expect(error.hint.contains("'**'"))
  }

  @Test func emptySelectionsAndEmptyCheckpointsAreRefused() {
    #expect(Self.error(TensorSelection(include: []))?.subject == .include)
    #expect(Self.error(TensorSelection(exclude: ["**"]))?.subject == .exclude)
    #expect(Self.error(TensorSelection(), [])?.hint == "there are no tensors")
  }

  @Test func globs() throws {
    func matches(_ pattern: String, _ name: String) throws -> Bool { try GlobPattern(pattern).matches(name) }
    #expect(try matches("a.*.c", "a.b.c") && matches("a.*.c", "a..c") && !matches("a.*.c", "a.b.b.c"))
    #expect(try matches("a.**.c", "a.b.b.c") && matches("**", "a.b") && !matches("*", "a.b"))
    #expect(try matches("l?", "l1") && !matches("l?", "l12") && !matches("l?", "l.") && !matches("l?", "l"))
    #expect(try matches("l[0-3x]", "l2") && matches("l[0-3x]", "lx") && !matches("l[0-3x]", "l4"))
    #expect(try matches("l[!0-3]", "l4") && !matches("l[!0-3]", "l0"))
    #expect(try matches("{a,b{c,d}}.w", "bd.w") && matches("{a,b{c,d}}.w", "a.w") && !matches("{a,b{c,d}}.w", "b.w"))
    #expect(try matches("a{,b}", "a") && matches("a{,b}", "ab"))
    #expect(try GlobPattern("{a,b}{c,d}").alternatives == ["ac", "ad", "bc", "bd"])
    #expect(try !matches("abc", "ab") && !matches("ab", "abc") && matches("*b*", "abb"))
    for broken in ["", "{a", "a}", "}a{", "[a", "a]", "[]", "[z-a]", "{a,{b}"] {
      #expect(throws: QuantizationError.self, "\(broken)") { try GlobPattern(broken) }
    }
  }

  @Test func nearestNames() {
    #expect(NearestName.editDistance("", "abc") == 3)
    #expect(NearestName.editDistance("kitten", "sitting") == 3)
    #expect(NearestName.editDistance("formtas", "formats") == 1)
    #expect(NearestName.to("Weight-Decay", among: ["betas", "weight_decay"]) == "weight_decay")
    #expect(NearestName.to("x", among: [String]()) == nil)
    #expect(NearestName.plausible(for: "zzzzzz", among: ["betas", "weight_decay"]) == nil)
  }
}
