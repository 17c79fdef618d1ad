/// Why training cannot go on.
public enum TrainingError: Error, Sendable, CustomStringConvertible {
  case notFinite(step: Int, loss: Double, gradientNorm: Double)

  public var description: String {
    switch self {
    case .notFinite(let step, let loss, let norm):
      "step \(step): the loss is \(loss) and the gradient norm \(norm). No weight was changed in this step; the state of "
        + "step \(step - 1) stands. Lower training.learning_rate, raise warmup_steps, or look at the data of this step."
    }
  }
}

/// No checkpoint of a run is as it was written: nothing that a restart could change.
public struct NoUsableCheckpoint: Error, Sendable, CustomStringConvertible {
  let path: String, count: Int
  /// Why the newest was refused.
  let reason: String

  public var description: String {
    "\(path): none of \(count) checkpoints can be used: \(reason) Restore one from a copy, or start anew in another folder."
  }
}
