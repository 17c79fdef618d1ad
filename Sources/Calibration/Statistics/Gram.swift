public import Tensors

/// Second moments of the input of a linear layer over all calibration tokens: C = Σ xᵀx, (K, K), not divided by the count.
///
/// The Hessian of ½‖WX - ŴX‖² is C itself; GPTQ's H = (2/n) C (Frantar et al., arXiv 2210.17323) differs by a factor that
/// no solver here depends on, since damping is relative.
public final class Gram {
  /// K
  public let columns: Int
  /// Tokens summed over.
  public internal(set) var tokens: Int
  /// (K, K) row-major, symmetric.
  public var values: HostBuffer<Double>

  public init(columns: Int, tokens: Int = 0, in arena: Arena) {
    precondition(columns > 0 && tokens >= 0, "second moments of \(columns) columns over \(tokens) tokens")
    self.columns = columns
    self.tokens = tokens
    values = HostBuffer(count: columns * columns, in: arena)
  }

  /// C[i, i]: the energy of a channel. A channel that is always 0 is dead.
  public func energy(_ channel: Int) -> Double { values[channel * columns + channel] }

  /// The moments of x / s.
  public func scaled(by factors: [Float]) -> Gram {
    precondition(factors.count == columns, "\(factors.count) factors for \(columns) columns")
    let gram = Gram(columns: columns, tokens: tokens, in: Arena("scaled moments"))
    for i in 0..<columns {
      for j in 0..<columns {
        gram.values[i * columns + j] = values[i * columns + j] / (Double(factors[i]) * Double(factors[j]))
      }
    }
    return gram
  }

  /// The identity, for which every solver rounds to nearest.
  public static func identity(columns: Int, in arena: Arena) -> Gram {
    let gram = Gram(columns: columns, tokens: columns, in: arena)
    for i in 0..<columns { gram.values[i * columns + i] = 1 }
    return gram
  }
}
