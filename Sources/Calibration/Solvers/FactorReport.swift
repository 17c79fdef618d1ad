/// What became of the second moments of an input before weights were rounded by them: nothing is repaired silently.
public struct FactorReport: Sendable, Hashable {
  /// The relative damping in use; 0 for rounding to nearest.
  public internal(set) var damping = 0.0
  /// Why the plan's damping did not do, once for each tenfold raise.
  public internal(set) var raises: [DampingRaise] = []
  /// Channels that no token used: their weights are stored as zeros.
  public internal(set) var deadColumns: [Int] = []
}

public struct DampingRaise: Sendable, Hashable, CustomStringConvertible {
  public enum Reason: Sendable, Hashable {
    /// The damped moments are not positive definite to working precision.
    case indefinite
    /// The least diagonal entry of the inverse's Cholesky factor, over their mean.
    case flat(Double)
  }

  public let from: Double
  public let to: Double
  public let reason: Reason

  public var description: String {
    let why = switch reason {
    case .indefinite: "the damped moments are not positive definite"
    case .flat(let ratio): "the factor's least diagonal entry is \(ratio) of the mean"
    }
    return "damping \(from) -> \(to): \(why)"
  }
}
