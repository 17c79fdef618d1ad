import Formats
import Quantization
import Settings
import Testing

@Suite struct ValidationTests {
  /// Overrides of the minimal configuration, the one key they must be refused for, and words of the refusal.
  struct Refusal: Sendable, CustomTestStringConvertible {
    let overrides: [String], key: String, words: String
    init(_ overrides: String..., at key: String, _ words: String = "") {
      (self.overrides, self.key, self.words) = (overrides, key, words)
    }
    var testDescription: String { overrides.joined(separator: " ") }
  }

  @Test(arguments: [
    Refusal("model.path=null", at: "model.path", "neither"),
    Refusal("model.config={hidden_size: 8}", at: "model.config", "both"),
    Refusal("model.path=null", "model.config={hidden_size: 8}", at: "model.tokenizer", "tokenizer.json"),
    Refusal("model.path=null", "model.config={}", "model.tokenizer=t", at: "model.config", "empty"),
    Refusal("model.path=null", "model.config={max_position_embeddings: 64}", "model.tokenizer=t",
            at: "data.context", "64"),
    Refusal("model.path=''", at: "model.path", "empty"),
    Refusal("model.initialization.standard_deviation=0", at: "model.initialization.standard_deviation"),
    Refusal("data.train=[]", at: "data.train", "none"),
    Refusal("data.train=[a.txt, b.bin]", at: "data.train", "mfqat prepare"),
    Refusal("data.validation=[a.bin, b.bin]", at: "data.validation", "mfqat prepare"),
    Refusal("data.train=['']", at: "data.train", "empty"),
    Refusal("data.context=1", at: "data.context"),
    Refusal("data.validation_windows=0", at: "data.validation_windows"),
    Refusal("quantization.objective=quantized", at: "quantization.formats", "none"),
    Refusal("quantization.weights=[1]", at: "quantization.weights"),
    Refusal("quantization.curriculum_fractions=[1]", at: "quantization.curriculum_fractions"),
    Refusal("quantization.formats=[mxint4, mxint4]", at: "quantization.formats", "once"),
    Refusal("quantization.formats=[mxint4, mxint8]", "quantization.weights=[1]", at: "quantization.weights", "mxint8"),
    Refusal("quantization.formats=[mxint4]", "quantization.weights=[0]", at: "quantization.weights"),
    Refusal("quantization.formats=[mxint4, mxint8]", "quantization.schedule=single",
            at: "quantization.schedule", "round_robin"),
    Refusal("quantization.formats=[mxint4]", "quantization.curriculum_fractions=[1]",
            at: "quantization.curriculum_fractions"),
    Refusal("quantization.formats=[mxint2, mxint4, mxint8]", "quantization.schedule=curriculum", "training.steps=2",
            at: "quantization.curriculum_fractions", "2 steps"),
    Refusal("quantization.formats=[mxint4, mxfp4]", at: "quantization.formats", "path: direct"),
    Refusal("quantization.formats=[mxint4, mxfp4]", "quantization.path=direct", at: "quantization.anchor", "auto"),
    Refusal("quantization.formats=[mxfp4, mxfp6_e2m3]", "quantization.anchor=mxfp4",
            at: "quantization.anchor", "mxfp8_e4m3"),
    Refusal("quantization.formats=[mxfp4]", "quantization.anchor=mxint8", at: "quantization.anchor", "mxfp8_e4m3"),
    Refusal("quantization.formats=[mxint4]", "quantization.evaluate_formats=[mxfp4]",
            at: "quantization.evaluate_formats", "mxfp4"),
    Refusal("quantization.evaluate_formats=[mxint4, mxint4]", at: "quantization.evaluate_formats", "once"),
    Refusal("quantization.formats=[mxint4]", "quantization.scale_rule=even",
            at: "quantization.scale_rule", "path: direct"),
    Refusal("quantization.activations=mxint8", at: "quantization.activations", "full_precision"),
    Refusal("quantization.formats=[mxint4]", "quantization.include=[]", at: "quantization.include"),
    Refusal("quantization.include=['a{b']", at: "quantization.include", "balance"),
    Refusal("quantization.exclude=['a[b']", at: "quantization.exclude", "balance"),
    Refusal("training.steps=0", at: "training.steps"),
    Refusal("training.learning_rate=0", at: "training.learning_rate"),
    Refusal("training.minimum_learning_rate_ratio=1.5", at: "training.minimum_learning_rate_ratio"),
    Refusal("training.warmup_steps=101", at: "training.warmup_steps", "100"),
    Refusal("training.warmup_steps=-1", at: "training.warmup_steps"),
    Refusal("training.betas=[0.9]", at: "training.betas"),
    Refusal("training.betas=[0.9, 1]", at: "training.betas"),
    Refusal("training.epsilon=0", at: "training.epsilon"),
    Refusal("training.weight_decay=-1", at: "training.weight_decay"),
    Refusal("training.clip=-1", at: "training.clip"),
    Refusal("training.batch=0", at: "training.batch"),
    Refusal("training.lanes=0", at: "training.lanes"),
    Refusal("training.accumulation=0", at: "training.accumulation"),
    Refusal("training.batch=20", at: "training.batch", "set batch to 12 or 24, or set lanes to 10 or 20"),
    Refusal("training.batch=8", at: "training.lanes", "set batch to 12, or set lanes to 8"),
    Refusal("training.batch=36", "training.accumulation=2",
            at: "training.batch", "set batch to 24 or 48, or set lanes to 9 or 18"),
    Refusal("training.lanes=9223372036854775807", at: "training.lanes", "12"),
    Refusal("training.threads=0", at: "training.threads", "from 1 to 256"),
    Refusal("training.threads=257", at: "training.threads"),
    Refusal("training.precision.rotation=48", at: "training.precision.rotation", "16, 32, 64 or 128"),
    Refusal("training.precision.format=mxfp8_e4m3", at: "training.precision.format", "mxint8"),
    Refusal("training.precision={forward: mx, policy: halo2}", at: "training.precision.policy", "int8 or fp32"),
    Refusal("training.precision={weight_gradient: bf16, policy: halo0}", at: "training.precision.policy", "bf16"),
    Refusal("training.precision.layers={'**': int4}", at: "training.precision.layers.**", "did you mean int8?"),
    Refusal("training.precision.layers={'**': halo3}", at: "training.precision.layers.**", "contraction"),
    Refusal("training.precision.layers={'**': 8}", at: "training.precision.layers.**", "found 8"),
    Refusal("training.precision.layers={'a{b': fp32}", at: "training.precision.layers.a{b", "balance"),
    Refusal("training.precision={backward: mx, layers: {'**': halo1}}", at: "training.precision.layers.**", "int8 or fp32"),
    Refusal("training.precision={forward: int8, policy: halo2, layers: {'**': bf16}}",
            at: "training.precision.layers.**", "halo2"),
    Refusal("distillation.weight=-1", at: "distillation.weight"),
    Refusal("distillation.temperature=0", at: "distillation.temperature"),
    Refusal("distillation.hard_weight=0", at: "distillation.hard_weight", "both 0"),
    Refusal("distillation.weight=1", "model.path=null", "model.config={hidden_size: 8}", "model.tokenizer=t",
            at: "distillation.weight", "teacher"),
    Refusal("checkpoint.every=-1", at: "checkpoint.every"),
    Refusal("checkpoint.keep=0", at: "checkpoint.keep"),
    Refusal("checkpoint.keep_every=-1", at: "checkpoint.keep_every"),
    Refusal("checkpoint.threads=0", at: "checkpoint.threads"),
    Refusal("checkpoint.threads=257", at: "checkpoint.threads"),
    Refusal("logging.every=0", at: "logging.every"),
    Refusal("logging.validate_every=-1", at: "logging.validate_every"),
    Refusal("logging.validate_every=10", at: "logging.validate_every", "data.validation"),
  ])
  func isRefused(_ refusal: Refusal) throws {
    do {
      _ = try RunConfiguration(yaml: minimalYAML, file: "run.yaml", overrides: refusal.overrides)
      Issue.record("accepted")
    } catch {
      #expect(error.problems.map(\.keyPath) == [refusal.key], "\(error)")
      #expect(error.description.contains(refusal.words), "\(error)")
    }
  }

  @Test func allProblemsAreListedWithTheirLines() throws {
    let found = problems(minimalYAML + "  batch: 13\n  clip: -1\ncheckpoint:\n  keep: 0\n")
    #expect(found.map(\.keyPath) == ["training.clip", "training.batch", "checkpoint.keep"])
    #expect(found.map(\.line) == [9, 8, 11].map { $0 - 1 })
  }

  @Test func whatIsAllowed() throws {
    #expect(try configuration(with: "training.batch=36", "training.accumulation=3").training.sequencesPerLane == 1)
    let both = try configuration(
      with: "quantization.formats=[mxint4, mxfp4]", "quantization.path=direct", "quantization.anchor=mxint8",
      "quantization.scale_rule=rceil")
    #expect(both.quantization.forwardPath == .direct)
    // The control run of a quantized one: the same formats, only reported.
    let control = try configuration(with: "quantization.formats=[mxfp4]", "quantization.objective=full_precision")
    #expect(try control.formatSchedule() == nil)
    #expect(control.quantization.formatsToEvaluate == [.mxfp4])
  }

  @Test func defaultsThatFollowFromFormats() throws {
    let one = try configuration(with: "quantization.formats=[mxfp6_e2m3]").quantization
    #expect(one.objective == .quantized && one.schedule == .single)
    #expect(one.forwardPath == .viaAnchor(.mxfp8_e4m3))
    let several = try configuration(with: "quantization.formats=[mxint2, mxint8]").quantization
    #expect(several.schedule == .roundRobin && several.anchor == .mxint8)
  }

  @Test func aConfigurationChangedInCodeCanBeChecked() throws {
    var changed = try configuration()
    try changed.validate()
    changed.training.lanes = 7
    #expect(throws: SettingsError.self) { try changed.validate() }
  }

  @Test func valuesForTheTrainer() throws {
    let result = try configuration(
      with: "quantization.formats=[mxint8, mxint2]", "quantization.schedule=curriculum", "quantization.activations=mxint8")
    let schedule = try #require(try result.formatSchedule())
    #expect(schedule.formats == [.mxint2, .mxint8] && schedule.phaseStarts == [0, 50, 100])
    let names = ["model.norm.weight"] + ["q", "k", "v", "o"].map { "model.layers.0.self_attn.\($0)_proj.weight" }
      + ["gate", "up", "down"].map { "model.layers.0.mlp.\($0)_proj.weight" }
    let plan = try result.plan(for: names)
    #expect(plan.quantized == Array(names.dropFirst()) && plan.activations == .mxint8)
    #expect(try configuration().plan(for: names).quantized.isEmpty)
  }
}
