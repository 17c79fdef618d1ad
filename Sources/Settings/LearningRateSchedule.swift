import Foundation

/// The learning rate of every step: linear warm-up, then decay, both ends met exactly.
///
/// With w warm-up steps of n, steps counted from 0: rate(s) = peak · (s + 1) / w for s < w, so that the peak is at
/// p = max(w - 1, 0). From there, with t = (s - p) / (n - 1 - p), which is 1 at the last step, and r the minimum ratio:
/// - cosine: peak · (r + (1 - r) · (1 + cos πt) / 2)
/// - linear: peak · (1 - (1 - r) · t)
/// - constant: peak
public struct LearningRateSchedule: Sendable, Hashable {
  public enum Decay: String, Sendable, Hashable, CaseIterable {
    case cosine, linear, constant
  }

  public let peak: Double
  public let minimumRatio: Double
  public let warmupSteps: Int
  public let steps: Int
  public let decay: Decay

  public init(peak: Double, minimumRatio: Double, warmupSteps: Int, steps: Int, decay: Decay) {
    precondition(warmupSteps >= 0 && warmupSteps <= steps, "\(warmupSteps) warm-up steps of \(steps)")
    self.peak = peak
    self.minimumRatio = minimumRatio
    self.warmupSteps = warmupSteps
    self.steps = steps
    self.decay = decay
  }

  /// Rate of a step, from 0; beyond the last step that of the last.
  public func rate(step: Int) -> Double {
    precondition(step >= 0, "step \(step)")
    if step < warmupSteps { return peak * (Double(step + 1) / Double(warmupSteps)) }
    let start = max(warmupSteps - 1, 0)
    let length = steps - 1 - start
    let t = length > 0 ? min(Double(step - start) / Double(length), 1) : 0
    return switch decay {
    case .cosine: peak * (minimumRatio + (1 - minimumRatio) * (1 + cos(.pi * t)) / 2)
    case .linear: peak * (1 - (1 - minimumRatio) * t)
    case .constant: peak
    }
  }
}
