import Settings
import Testing

/// `communication`: defaults, what goes together, and what is said of the rest.
@Suite struct CommunicationSettingsTests {
  @Test func defaults() throws {
    let found = try configuration().communication
    #expect(found == CommunicationSettings())
    #expect(found.gradients == .exact && found.weights == .auto && found.sharding == .replicate)
    #expect(found.rounding == .stochastic && !found.errorFeedback && found.overlap)
    #expect(found.checkEvery == 100 && found.watchdogSeconds == 600)
    #expect(try configuration().training.recompute == .none)
  }

  @Test func everyNameIsRead() throws {
    for value in GradientTransport.allCases {
      #expect(try configuration(with: "communication.gradients=\(value.rawValue)").communication.gradients == value)
    }
    #expect(GradientTransport.allCases.map(\.rawValue) == ["exact", "fp32", "bf16", "int8", "two_level"])
    for value in WeightTransport.allCases {
      let found = try configuration(with: "quantization.formats=[mxint4]", "communication.weights=\(value.rawValue)")
      #expect(found.communication.weights == value)
    }
    #expect(WeightTransport.allCases.map(\.rawValue) == ["auto", "fp32", "bf16", "anchor", "delta", "code_delta"])
    for value in Sharding.allCases {
      #expect(try configuration(with: "communication.sharding=\(value.rawValue)").communication.sharding == value)
    }
    for value in WireRoundingRule.allCases {
      #expect(try configuration(with: "communication.rounding=\(value.rawValue)").communication.rounding == value)
    }
    for value in Recomputation.allCases {
      #expect(try configuration(with: "training.recompute=\(value.rawValue)").training.recompute == value)
    }
  }

  /// Overrides of the minimal configuration, and all that is said of them.
  struct Refusal: Sendable, CustomTestStringConvertible {
    let overrides: [String], key: String, expected: String, found: String, hint: String
    init(_ overrides: String..., at key: String, expected: String, found: String, hint: String = "") {
      (self.overrides, self.key, self.expected) = (overrides, "communication." + key, expected)
      (self.found, self.hint) = (found, hint)
    }
    var testDescription: String { overrides.joined(separator: " ") }
  }

  static let refusals = [
    Refusal("communication.check_every=-1", at: "check_every", expected: "0 or more", found: "-1"),
    Refusal("communication.watchdog_seconds=0.5", at: "watchdog_seconds", expected: "0, or 1 or more", found: "0.5"),
    Refusal("communication.watchdog_seconds=-3", at: "watchdog_seconds", expected: "0, or 1 or more", found: "-3.0"),
  ] + ["anchor", "code_delta"].map {
    Refusal(
      "communication.weights=\($0)", at: "weights",
      expected: "auto, fp32, bf16 or delta under objective full_precision",
      found: $0, hint: "codes need quantization.formats and objective: quantized")
  } + [
    Refusal(
      "communication.weights=anchor", "quantization={formats: [mxint4], objective: full_precision}", at: "weights",
      expected: "auto, fp32, bf16 or delta under objective full_precision", found: "anchor",
      hint: "codes need quantization.formats and objective: quantized"),
    Refusal(
      "communication.weights=code_delta", "quantization={formats: [mxint4, mxint8], path: direct}", at: "weights",
      expected: "anchor, fp32, bf16 or delta with path direct and several formats", found: "code_delta",
      hint: "differences are taken between codes of one format: use path: via_anchor"),
  ] + ["delta", "code_delta"].map {
    Refusal(
      "communication={weights: \($0), sharding: layers}", "quantization.formats=[mxint4]", at: "weights",
      expected: "auto, fp32, bf16 or anchor with sharding layers", found: $0,
      hint: "differences need what every rank had before, which layers does not keep")
  } + [
    Refusal(
      "communication.sharding=layers", "distillation.weight=1", at: "sharding", expected: "replicate with distillation",
      found: "layers", hint: "every rank holds the whole teacher")
  ] + ["exact", "fp32", "bf16"].map {
    Refusal(
      "communication={gradients: \($0), error_feedback: true}", at: "error_feedback",
      expected: "false with gradients \($0)",
      found: "true", hint: "only codes lose enough to be worth keeping: int8, two_level")
  } + ["sum", "format_parallel"].map {
    Refusal(
      "communication.gradients=int8", "quantization={formats: [mxint4, mxint8], schedule: \($0), estimator: clipped}",
      at: "gradients", expected: "exact with estimator clipped under schedule \($0)", found: "int8",
      hint: "the mask of a format belongs to each lane's gradient")
  }

  @Test(arguments: refusals) func isRefused(_ refusal: Refusal) throws {
    do {
      _ = try RunConfiguration(yaml: minimalYAML, file: "run.yaml", overrides: refusal.overrides)
      Issue.record("accepted")
    } catch {
      let problem = try #require(error.problems.first)
      #expect(error.problems.count == 1, "\(error)")
      #expect(problem.keyPath == refusal.key && problem.expected == refusal.expected, "\(problem)")
      #expect(problem.found == refusal.found && problem.hint == refusal.hint, "\(problem)")
    }
  }

  /// The neighbours of what is refused.
  @Test(arguments: [
    ["communication.check_every=0", "communication.watchdog_seconds=0"], ["communication.watchdog_seconds=1"],
    ["communication.weights=delta"], ["communication.weights=bf16", "communication.sharding=layers"],
    ["communication.weights=code_delta", "quantization={formats: [mxint4], path: direct}"],
    ["communication.weights=code_delta", "quantization={formats: [mxint4, mxint8]}"],
    ["communication={weights: anchor, sharding: layers}", "quantization.formats=[mxint4]"],
    ["communication={gradients: int8, error_feedback: true}"],
    ["communication={gradients: two_level, error_feedback: true}"],
    ["communication.gradients=two_level", "quantization={formats: [mxint4, mxint8], estimator: clipped}"],
    ["communication.gradients=exact", "quantization={formats: [mxint4, mxint8], schedule: sum, estimator: clipped}"],
    ["communication.gradients=int8", "quantization={formats: [mxint4, mxint8], schedule: sum}"],
    ["communication.sharding=layers", "training.recompute=layers"],
    ["communication.weights=delta", "distillation.weight=1"],
  ]) func isAllowed(_ overrides: [String]) throws {
    let found = try RunConfiguration(yaml: minimalYAML, file: "run.yaml", overrides: overrides)
    #expect(try RunConfiguration(yaml: found.resolvedYAML(), file: "resolved") == found)
  }

  @Test func aMisspeltKeyHasANeighbour() throws {
    let found = problems(with: "communication.gradient=exact")
    #expect(found.map(\.keyPath) == ["communication.gradient"] && found[0].hint.contains("gradients"), "\(found)")
  }
}
