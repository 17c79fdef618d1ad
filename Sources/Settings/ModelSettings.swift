/// `model`: what is trained. Either `path` or `config` with `tokenizer`.
public struct ModelSettings: Sendable, Hashable {
  /// A Hugging Face folder, an anchor or a training checkpoint to start from.
  public var path: String?
  /// The keys of a Hugging Face `config.json`, to train a new model from random weights.
  public var config: ConfigurationMapping?
  /// The folder that holds `tokenizer.json`; with `path` the default is the model's own.
  public var tokenizer: String?
  public var initialization = InitializationSettings()

  public init() {}
}

extension ModelSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("path", \.path, "Hugging Face folder, anchor or training checkpoint to start from; this or config."),
    SettingKey("config", \.config, """
      Keys of a Hugging Face config.json, to train a new model from random weights; this or path.
      """),
    SettingKey("tokenizer", \.tokenizer, """
      Folder that holds tokenizer.json; needed with config, with path it replaces the model's own.
      """),
    SettingKey("initialization", \.initialization, "Random weights of a new model, drawn from training.seed."),
  ]
}

/// `model.initialization`: how the weights of a new model are drawn. The seed is `training.seed`.
public struct InitializationSettings: Sendable, Hashable {
  /// Of the normal distribution of every matrix.
  public var standardDeviation = 0.02

  public init() {}
}

extension InitializationSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("standard_deviation", \.standardDeviation, """
      Standard deviation of the normal distribution the matrices are drawn from; used with config only.
      """)
  ]
}
