public import Communication
import Quantization

/// What one optimizer step did: one line of `metrics.jsonl`.
public struct StepRecord: Sendable {
  public let step: Int
  /// Tokens seen since the run began.
  public let tokens: Int
  /// Mean nats a scored token, over all lanes; formats weighted as the schedule says.
  public let loss: Double
  public let learningRate: Double
  /// Before clipping.
  public let gradientNorm: Double
  let schedule: FormatSchedule?
  let lanes: Int
  public let tokensInStep: Int
  public let seconds: PhaseSeconds
  public let traffic: CommunicationStatistics

  /// The formats of the step, joined by +. Put together when it is asked for: the step itself allocates nothing.
  public var format: String { schedule?.label(step: step - 1, lanes: lanes) ?? "fp32" }

  public var tokensPerSecond: Double { Double(tokensInStep) / max(seconds.total, 1e-9) }
}
