/// `checkpoint`: what a killed job loses.
public struct CheckpointSettings: Sendable, Hashable {
  /// Steps between checkpoints; 0 means only after the last step.
  public var every = 0
  /// Checkpoints kept; older ones are deleted after a newer one is complete.
  public var keep = 2
  /// Whether the run ends by writing the anchor.
  public var anchor = true
  public var keepEvery = 0, background = false, threads = 1
  public enum OnFailure: String, Sendable { case stop, `continue` }
  public var onFailure = OnFailure.continue

  public init() {}
}

extension CheckpointSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("every", \.every, "Steps between checkpoints; 0 is only after the last step."),
    SettingKey("keep", \.keep, "Checkpoints kept; older ones go once a newer one is complete."),
    SettingKey("anchor", \.anchor, "Whether the run ends by writing the anchor."),
  ]
}
