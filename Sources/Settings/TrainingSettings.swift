/// `training`: the optimization.
public struct TrainingSettings: Sendable, Hashable {
  /// Optimizer steps; 0, which validation refuses, until set.
  public var steps = 0
  /// Sequences in a step, over all lanes and micro-steps.
  public var batch = 12
  /// Micro-steps whose gradients make one step.
  public var accumulation = 1
  /// Logical workers: what is summed in which order, whatever the number of ranks.
  public var lanes = 12
  public var learningRate = 1e-5
  public var minimumLearningRateRatio = 0.1
  public var warmupSteps = 0
  public var decay = LearningRateSchedule.Decay.cosine
  public var betas = [0.9, 0.95]
  public var epsilon = 1e-8
  public var weightDecay = 0.1
  /// Bound on the global gradient norm; 0 means none.
  public var clip = 1.0
  public var seed: UInt64 = 42
  /// Of the linear layers' products.
  public var precision = PrecisionSettings()
  /// Threads of a rank.
  public var threads = 1
  public var recompute = Recomputation.none

  public init() {}

  /// Sequences a lane computes in one micro-step.
  public var sequencesPerLane: Int { batch / (lanes * accumulation) }

  public var learningRateSchedule: LearningRateSchedule {
    LearningRateSchedule(peak: learningRate, minimumRatio: minimumLearningRateRatio, warmupSteps: warmupSteps,
                         steps: steps, decay: decay)
  }
}

/// What backward computes again instead of keeping it.
public enum Recomputation: String, Sendable, Hashable, CaseIterable {
  case none
  /// Every layer's activations but its input.
  case layers
}

extension Recomputation: NamedSetting {}
extension LearningRateSchedule.Decay: NamedSetting {}

extension TrainingSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("steps", \.steps, required: true, "Optimizer steps."),
    SettingKey("batch", \.batch, "Sequences in a step, over all lanes and micro-steps."),
    SettingKey("accumulation", \.accumulation, """
      Micro-steps whose gradients make one step: more of them need less memory for activations.
      """),
    SettingKey("lanes", \.lanes, """
      Logical workers that share the batch equally; results depend on this number and not on the number of ranks.
      """),
    SettingKey("learning_rate", \.learningRate, "Peak learning rate, reached at the end of the warm-up."),
    SettingKey("minimum_learning_rate_ratio", \.minimumLearningRateRatio, """
      Learning rate of the last step as a share of the peak.
      """),
    SettingKey("warmup_steps", \.warmupSteps, "Steps over which the learning rate rises linearly to its peak."),
    SettingKey("decay", \.decay, "How the learning rate falls from the peak to the last step."),
    SettingKey("betas", \.betas, "AdamW's decay of the first and of the second moment."),
    SettingKey("epsilon", \.epsilon, "AdamW's addition to the root of the second moment."),
    SettingKey("weight_decay", \.weightDecay, "AdamW's decoupled weight decay; norms and biases have none."),
    SettingKey("clip", \.clip, "Largest global norm of the gradient, scaled down above it; 0 is no bound."),
    SettingKey("seed", \.seed, "Seed of every random number: initial weights, order of the data, drawn formats."),
    SettingKey("threads", \.threads, "Threads of each rank; results do not depend on it."),
    SettingKey("recompute", \.recompute, """
      Activations that backward computes again: layers keeps only each layer's input and costs one more forward pass; results \
      are the same to the bit.
      """),
    SettingKey("precision", \.precision, "What the matrix products of linear layers run in."),
  ]
}
