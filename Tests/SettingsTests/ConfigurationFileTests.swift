import Formats
import Foundation
import Quantization
import Settings
import Testing

@Suite struct ConfigurationFileTests {
  /// The defaults with the least filled in: what `configs/reference.yaml` says.
  static let reference: RunConfiguration = {
    var reference = RunConfiguration()
    reference.model.path = "model/"
    reference.data.train = ["train.txt"]
    reference.training.steps = 1000
    return reference
  }()

  /// Everything different from its default.
  static let unusual = [
    "model.path=null", "model.tokenizer='tok: #1'", "model.initialization.standard_deviation=0.5",
    "model.config={hidden_size: 64, eps: 1e-5, big: 1.0, name: 'true', 'odd key': [1, null, {a: \"é\\n\\\"\"}], empty: {}}",
    "data.train=[a b.txt, '12', \"-x\", 'null']", "data.validation=v.bin", "data.context=64", "data.shuffle=false",
    "data.validation_windows=9", "quantization.objective=full_precision", "quantization.formats=[mxint8, mxint2]",
    "quantization.weights=[0.1, 1]", "quantization.schedule=curriculum", "quantization.curriculum_fractions=[0.3, 0.7]",
    "quantization.path=direct", "quantization.anchor=mxint6", "quantization.estimator=clipped",
    "quantization.scale_rule=even", "quantization.include=['**']", "quantization.exclude=['*.{a,b}']",
    "quantization.evaluate_formats=[mxfp4]", "training.steps=7", "training.batch=6", "training.accumulation=3",
    "training.lanes=2", "training.learning_rate=0.1", "training.minimum_learning_rate_ratio=0.3",
    "training.warmup_steps=2", "training.decay=linear", "training.betas=[0.1, 0.2]", "training.epsilon=1e-30",
    "training.weight_decay=0.7", "training.clip=0", "training.seed=18446744073709551615",
    "training.threads=3", "training.precision={forward: int8, backward: int8, weight_gradient: fp32, head: fp32}",
    "training.precision.policy=none", "training.precision.rotation=32", "training.precision.full_width=true",
    "training.precision.signs=redraw", "training.precision.rounding=stochastic", "training.precision.format=mxfp4",
    "training.precision.small_layers=keep",
    "training.precision.layers={'**': none, 'model.layers.0.**': fp32, '*.{a,b}[0-3]?': halo0, plain: int8}", "distillation.temperature=3",
    "distillation.hard_weight=2", "checkpoint.every=5", "checkpoint.keep=9", "checkpoint.anchor=false",
    "checkpoint={keep_every: 50, background: true, on_failure: stop, threads: 4}",
    "training.recompute=layers", "communication={gradients: two_level, weights: delta, rounding: nearest, overlap: false}",
    "communication.error_feedback=true", "communication.check_every=3", "communication.watchdog_seconds=2.5", "logging.every=3",
    "logging.validate_every=4", "logging.progress=false",
  ]

  @Test func whatIsWrittenReadsBackEqual() throws {
    for overrides in [[], ["quantization.formats=[mxint4]", "quantization.activations=mxint8", "distillation.weight=2"], Self.unusual] {
      let original = try RunConfiguration(yaml: minimalYAML, file: "f", overrides: overrides)
      let text = original.resolvedYAML()
      let again = try RunConfiguration(yaml: text, file: "resolved")
      #expect(again == original)
      #expect(again.resolvedYAML() == text)
    }
    let odd = try RunConfiguration(yaml: minimalYAML, file: "f", overrides: Self.unusual)
    #expect(odd.data.train == ["a b.txt", "12", "-x", "null"])
    #expect(odd.model.config?["name"] == .text("true") && odd.model.config?["big"] == .number(1))
    #expect(odd.training.precision.layers.entries.map(\.key) == ["**", "model.layers.0.**", "*.{a,b}[0-3]?", "plain"])
    #expect(odd.training.precision.layers["**"] == .text("none"))
    let json = try #require(odd.model.config?.json)
    #expect(json.contains(#""odd key":[1,null,{"a":"é\n\""}],"empty":{}"#))
    #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(json.utf8)) }
  }

  static let header = """
    # Every key of a run configuration with its meaning, type and default. Only model.path (or model.config), data.train and
    # training.steps must be given; the values of these three are placeholders.
    #
    # Any key can be overridden on the command line: mfqat train --config FILE --set training.steps=200
    # Paths are relative to the working directory.


    """

  /// After a key changed: `MFQAT_WRITE_REFERENCE=1 swift test --filter ConfigurationFileTests` writes the file anew.
  @Test func theReferenceHasEveryKeyWithItsDefault() throws {
    let url = configsFolder.appendingPathComponent("reference.yaml")
    let generated = Self.header + Self.reference.commentedYAML()
    if ProcessInfo.processInfo.environment["MFQAT_WRITE_REFERENCE"] == "1" {
      try generated.write(to: url, atomically: true, encoding: .utf8)
    }
    let text = try String(contentsOf: url, encoding: .utf8)
    // Every key, its meaning, type and default, as the code has them.
    let differences = zip(text.split(separator: "\n"), generated.split(separator: "\n")).filter { $0 != $1 }
    #expect(text == generated, "first difference: \(differences.first.map { "'\($0)' is not '\($1)'" } ?? "length")")

    let written = try RunConfiguration(yaml: text, file: "reference.yaml")
    var expected = Self.reference
    expected.quantization.objective = .fullPrecision
    expected.quantization.schedule = .single
    expected.quantization.anchor = .mxint8
    expected.training.precision.weightGradient = .fp32
    expected.training.precision.head = .fp32
    expected.training.precision.gradientRounding = .nearest
    #expect(written == expected)
  }

  /// A stored property without a key would be a setting nobody can set.
  @Test func everyPropertyHasAKey() throws {
    let lines = Self.reference.commentedYAML().split(separator: "\n").filter { !$0.contains("#") }
    func keyCount(indent: Int, under section: Substring) -> Int {
      let start = lines.firstIndex { $0 == section }!
      return lines[(start + 1)...].prefix { $0.hasPrefix(" ") }.count { line in
        line.prefix { $0 == " " }.count == indent && !line.contains("- ")
      }
    }
    let sections = Mirror(reflecting: Self.reference).children
    #expect(sections.count == 8)
    for section in sections {
      let name = try #require(section.label)
      #expect(keyCount(indent: 2, under: "\(name):") == Mirror(reflecting: section.value).children.count, "\(name)")
    }
  }

  @Test(arguments: ["reference", "multi-format-mxint", "multi-format-mxfp", "single-format", "pretrain"])
  func everyFileIsValidAndCommented(_ name: String) throws {
    let url = configsFolder.appendingPathComponent("\(name).yaml")
    let configuration = try RunConfiguration(contentsOf: url.path)
    try configuration.validate()
    #expect(try configuration.formatSchedule() != nil || configuration.quantization.objective == .fullPrecision)
    #expect(configuration.data.train == ["train.txt"])
    #expect((configuration.model.path ?? configuration.model.tokenizer) == "model/")
    let lines = try String(contentsOf: url, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false)
    for (previous, line) in zip(lines, lines.dropFirst()) where line.hasPrefix("  ") {
      let key = line.drop { $0 == " " }
      // Two identifying keys of the inline config.json speak for themselves; list elements belong to their key.
      if key.hasPrefix("#") || key.hasPrefix("-") || key.hasPrefix("architectures") || key.hasPrefix("model_type") { continue }
      #expect(previous.contains("#"), "\(name): no sentence for '\(key)'")
    }
  }
}
