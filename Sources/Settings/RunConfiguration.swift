import Foundation
public import Quantization

/// Everything a training run is told: one YAML file, eight sections, no key unknown and no value guessed.
public struct RunConfiguration: Sendable, Hashable {
  public var model = ModelSettings()
  public var data = DataSettings()
  public var quantization = QuantizationSettings()
  public var training = TrainingSettings()
  public var distillation = DistillationSettings()
  public var communication = CommunicationSettings()
  public var checkpoint = CheckpointSettings()
  public var logging = LoggingSettings()

  /// The defaults. They name no model, no data and no number of steps, so `validate` refuses them as they are.
  public init() {}

  /// Reads a configuration file, applies overrides and checks the result.
  ///
  /// - Parameter overrides: `section.key=value` each, the value in YAML; later ones win.
  /// - Throws: `SettingsError` with every problem found: of spelling and type, or, if there are none, across keys.
  public init(contentsOf path: String, overrides: [String] = []) throws(SettingsError) {
    let yaml: String
    do {
      yaml = try String(contentsOf: URL(fileURLWithPath: path), encoding: .utf8)
    } catch {
      let found = FileManager.default.fileExists(atPath: path) ? "one that cannot be read: \(error)" : "no such file"
      throw SettingsError(file: path, problems: [
        SettingsProblem("", expected: "a configuration file in UTF-8", found: found)
      ])
    }
    try self.init(yaml: yaml, file: path, overrides: overrides)
  }

  /// The same from text.
  ///
  /// - Parameter file: the name errors use.
  public init(yaml: String, file: String, overrides: [String] = []) throws(SettingsError) {
    var root = try YAMLReader.read(yaml, file: file)
    for override in overrides {
      do {
        try YAMLReader.apply(override, to: &root)
      } catch {
        throw SettingsError(file: file, problems: [error])
      }
    }
    var report = SettingsReport()
    let decoded = Self.decode(root, at: "", &report)
    try report.finish(file)
    guard var configuration = decoded else { preconditionFailure("nothing decoded and nothing reported") }
    configuration.quantization.resolve()
    configuration.training.precision.resolve()
    configuration.check(&report)
    try report.finish(file)
    self = configuration
  }

  /// Checks what no key can check alone: the same as after reading, for a configuration changed in code.
  public func validate(file: String = "configuration") throws(SettingsError) {
    var report = SettingsReport()
    check(&report)
    try report.finish(file)
  }

  /// All keys with their values in a stable order; decoding it gives an equal configuration.
  public func resolvedYAML() -> String {
    var resolved = self
    resolved.quantization.resolve()
    resolved.training.precision.resolve()
    return YAMLWriter.write(resolved.node)
  }

  /// All keys with their values, each preceded by what it means, its type and its default.
  public func commentedYAML() -> String {
    YAMLWriter.write(node, documentation: Self.documentation, defaults: RunConfiguration().node)
  }

  /// Which format runs when; nil under full precision.
  ///
  /// - Throws: `QuantizationError` only for a configuration that `validate` refuses.
  public func formatSchedule() throws(QuantizationError) -> FormatSchedule? {
    switch quantization.objective {
    case .fullPrecision: nil
    case .quantized: try schedule()
    }
  }

  /// The tensors of a checkpoint with these names that are quantized, and those that are not.
  public func plan(for names: [String]) throws(QuantizationError) -> QuantizationPlan {
    switch quantization.objective {
    case .fullPrecision: .fullPrecision(names)
    case .quantized: try quantization.selection.resolve(names, activations: quantization.activations)
    }
  }

  func schedule() throws(QuantizationError) -> FormatSchedule {
    try FormatSchedule(
      quantization.schedule, formats: quantization.formats, weights: quantization.weights,
      fractions: quantization.curriculumFractions, steps: training.steps, seed: training.seed)
  }
}

extension RunConfiguration: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("model", \.model, "What is trained: path, or config with tokenizer."),
    SettingKey("data", \.data, "What it is trained on."),
    SettingKey("quantization", \.quantization, "The formats trained for, and how."),
    SettingKey("training", \.training, "The optimization."),
    SettingKey("distillation", \.distillation, "The full-precision original as teacher."),
    SettingKey("communication", \.communication, "How ranks exchange weights and gradients."),
    SettingKey("checkpoint", \.checkpoint, "What a killed job loses."),
    SettingKey("logging", \.logging, "What a run says while it goes."),
  ]
}
