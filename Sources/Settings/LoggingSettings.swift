/// `logging`: what a run says while it goes.
public struct LoggingSettings: Sendable, Hashable {
  /// Folder of the run; `--set logging.directory=…` is how a launcher names it.
  public var directory = "run"
  /// Steps between progress lines; the record has every step.
  public var every = 1
  /// Steps between validations; 0 means none.
  public var validateEvery = 0
  /// Progress lines on standard error.
  public var progress = true

  public init() {}
}

extension LoggingSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("directory", \.directory, "Folder of the run: resolved configuration, metrics, checkpoints, anchor."),
    SettingKey("every", \.every, "Steps between progress lines; metrics.jsonl has every step."),
    SettingKey("validate_every", \.validateEvery, "Steps between validations on data.validation; 0 is none."),
    SettingKey("progress", \.progress, "Whether progress is printed on standard error."),
  ]
}
