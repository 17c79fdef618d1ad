/// `data`: what it is trained on.
public struct DataSettings: Sendable, Hashable {
  /// Text files, or one token file written by `mfqat prepare`.
  public var train: [String] = []
  /// The same for validation; empty means none.
  public var validation: [String] = []
  /// Tokens in a sequence.
  public var context = 512
  public var shuffle = true
  /// At most so many windows are scored in a validation; nil means all.
  public var validationWindows: Int?

  public init() {}
}

extension DataSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("train", \.train, required: true, "Text files, or one token file (.bin) written by mfqat prepare."),
    SettingKey("validation", \.validation, "Text files or one token file to validate on."),
    SettingKey("context", \.context, "Tokens in a sequence."),
    SettingKey("shuffle", \.shuffle, """
      Whether sequences are drawn in an order shuffled by training.seed, or as they stand in the files.
      """),
    SettingKey("validation_windows", \.validationWindows, """
      At most so many windows are scored in a validation; null is all.
      """),
  ]
}
