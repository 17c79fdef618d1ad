/// `checkpoint`: what a killed job loses.
public struct CheckpointSettings: Sendable, Hashable {
  /// Steps between checkpoints; 0 means only after the last step.
  public var every = 0
  /// Checkpoints kept; older ones are deleted after a newer one is complete.
  public var keep = 2
  /// Checkpoints of steps that are multiples of it are never deleted; 0 means none are.
  public var keepEvery = 0
  /// Whether checkpoints are written by a thread, from a copy in memory, while training goes on.
  public var background = false
  public var onFailure = CheckpointFailurePolicy.continue
  /// Threads of a rank that compress and write, or read, a checkpoint.
  public var threads = 1
  /// Whether a checkpoint is read back, by all ranks, before it takes its name.
  public var verify = false
  /// Whether the run ends by writing the anchor.
  public var anchor = true

  public init() {}
}

/// What a save that fails does to the run. The checkpoint before stays either way.
public enum CheckpointFailurePolicy: String, Sendable, Hashable, CaseIterable {
  /// All ranks end with the reason.
  case stop
  /// The reason is told and training goes on; not after the last save of a run, nor one that a signal asked for: what
  /// would follow is an end without a checkpoint.
  case `continue`
}

extension CheckpointFailurePolicy: NamedSetting {}

extension CheckpointSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("every", \.every, "Steps between checkpoints; 0 is only after the last step."),
    SettingKey("keep", \.keep, "Checkpoints kept; older ones go once a newer one is complete."),
    SettingKey("keep_every", \.keepEvery, "Checkpoints of steps that are multiples of it never go; 0 is none."),
    SettingKey("background", \.background, """
      Whether a checkpoint is copied in memory at the end of its step and written by a thread while training goes on; costs \
      memory of three fp32 values per parameter that a rank owns, and of what compressed communication keeps.
      """),
    SettingKey("on_failure", \.onFailure, """
      What a save that fails does to the run: the checkpoint before stays either way, and the last save of a run or one that \
      a signal asked for must succeed in any case.
      """),
    SettingKey("threads", \.threads, "Threads of each rank that compress and write, or read, a checkpoint."),
    SettingKey("verify", \.verify, """
      Whether what was written is read back and checked before it counts; the run waits for it.
      """),
    SettingKey("anchor", \.anchor, "Whether the run ends by writing the anchor."),
  ]
}
