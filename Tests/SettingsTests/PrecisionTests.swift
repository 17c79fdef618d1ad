import Formats
import Quantization
import Settings
import Testing

/// `training.precision`: what follows from what, and its exceptions by name.
@Suite struct PrecisionTests {
  static let names = (0..<2).flatMap { layer in
    ["self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"].map {
      "model.layers.\(layer).\($0)_proj.weight"
    }
  } + ["lm_head.weight"]

  private func precision(_ body: String) throws -> PrecisionSettings {
    try configuration(with: "training.precision=\(body)").training.precision
  }

  private func arithmetic(_ body: String, of names: String...) throws -> LinearArithmetic {
    let precision = try precision(body)
    return try precision.overrides(for: Self.names).arithmetic(of: names, default: precision.ofLayers)
  }

  private func expectRefusal(
    _ words: String..., sourceLocation: SourceLocation = #_sourceLocation, of body: () throws -> LinearArithmetic
  ) {
    do {
      let accepted = try body()
      Issue.record("accepted: \(accepted)", sourceLocation: sourceLocation)
    } catch {
      for word in ["training.precision.layers"] + words {
        #expect("\(error)".contains(word), "\(error)", sourceLocation: sourceLocation)
      }
    }
  }

  // MARK: Defaults

  @Test func nothingIsChangedUnlessAsked() throws {
    let precision = try precision("{}")
    #expect(precision.isFullPrecision && precision.ofLayers.isFullPrecision && precision.ofHead.isFullPrecision)
  }

  @Test func defaultsThatFollow() throws {
    let both = try precision("{forward: mx, backward: int8}")
    #expect(both.weightGradient == .int8 && both.head == .bf16 && both.gradientRounding == .nearest)
    let one = try precision("{forward: mx}")
    #expect(one.weightGradient == .fp32 && one.head == .fp32 && !one.isFullPrecision)
    #expect(try precision("{backward: mx, format: mxfp4}").gradientRounding == .stochastic)
    #expect(try precision("{backward: mx, format: mxint4, rounding: nearest}").gradientRounding == .nearest)
    #expect(try !precision("{layers: {'**': int8}}").isFullPrecision)
  }

  /// Differences of probabilities are too small for one scale a tensor.
  @Test func theHeadHasNoHALO() throws {
    let wish = try precision("{forward: int8, backward: int8, head: int8, policy: halo2}")
    #expect(wish.ofLayers.policy == .halo2 && wish.ofHead.policy == .contraction)
    let plain = try precision("{forward: int8, backward: int8, layers: {'**': halo1, '*.weight': none}}")
    let overrides = try plain.overrides(for: Self.names)
    #expect(try overrides.arithmetic(of: [Self.names[3]], default: plain.ofLayers).policy == .halo1)
    let everywhere = try precision("{forward: int8, backward: int8, layers: {'**': halo1}}")
    let head = try everywhere.overrides(for: Self.names)
      .arithmetic(ofHead: "lm_head.weight", default: everywhere.ofHead)
    #expect(head.policy == .contraction && head.forward == .bf16)
    #expect(overrides.arithmetic(ofHead: "lm_head.weight", default: plain.ofHead).policy == .none)
  }

  // MARK: Exceptions

  @Test func theLastMatchHolds() throws {
    let rules = """
      {forward: int8, backward: int8, layers: {'**': none, '**.down_proj.*': bf16, 'model.layers.1.**': fp32}}
      """
    let gate = try arithmetic(rules, of: Self.names[4], Self.names[5])
    #expect(gate.policy == .none && gate.forward == .int8 && gate.weightGradient == .int8)
    let down = try arithmetic(rules, of: Self.names[6])
    #expect(down.policy == .none && [down.forward, down.backward, down.weightGradient] == [.bf16, .bf16, .bf16])
    #expect(try arithmetic(rules, of: Self.names[13]).isFullPrecision)
    let other = "{forward: int8, layers: {'model.layers.1.**': fp32, '**': int8}}"
    #expect(try arithmetic(other, of: Self.names[13]).forward == .int8, "the order written decides")
  }

  @Test func oneProductHasOneArithmetic() throws {
    let rules = "{forward: int8, layers: {'**.{q,k}_proj.weight': fp32}}"
    expectRefusal("one arithmetic", "v_proj", "write a pattern that matches all") {
      try arithmetic(rules, of: Self.names[0], Self.names[1], Self.names[2])
    }
    #expect(try arithmetic(rules, of: Self.names[4], Self.names[5]).forward == .int8)
    let all = "{forward: int8, layers: {'**.q_proj.weight': fp32, '**.[kv]_proj.weight': fp32}}"
    #expect(try arithmetic(all, of: Self.names[0], Self.names[1], Self.names[2]).isFullPrecision)
  }

  /// Each pattern alone is fine: only where both match there is something that does not exist.
  @Test func patternsThatClashTogetherAreRefused() {
    let rules = "{forward: int8, backward: int8, layers: {'**.down_proj.weight': mx, 'model.layers.0.**': halo1}}"
    expectRefusal("contraction or none with mx", "halo1 for model.layers.0.mlp.down_proj.weight", "int8 or fp32") {
      try arithmetic(rules, of: Self.names[6])
    }
    #expect(throws: Never.self) { try arithmetic(rules, of: Self.names[13]) }
  }

  @Test func aPatternThatMatchesNothingNamesTheNearest() {
    expectRefusal("'model.layers.0.mlp.gat_proj.weight'", "none of 15", "model.layers.0.mlp.gate_proj.weight") {
      try arithmetic("{layers: {'model.layers.0.mlp.gat_proj.weight': int8}}", of: Self.names[0])
    }
    expectRefusal("'model.layers.2.**'") { try arithmetic("{layers: {'model.layers.2.**': fp32}}", of: Self.names[0]) }
  }

  @Test func aTypoNamesTheNearestKey() throws {
    let found = try #require(problems(with: "training.precision.foward=int8").first)
    #expect(found.keyPath == "training.precision.foward" && found.hint == "did you mean forward?")
    #expect(problems(with: "training.precision.policy=halo").first?.hint.contains("halo") == true)
  }
}
