public import Formats

/// How the three products of one linear layer are computed.
///
/// Legend (HALO, arXiv 2501.02625): F forward Y = X Wᵀ, E input gradient E_X = E_Y W, G weight gradient G = E_Yᵀ X.
public struct LinearArithmetic: Sendable, Hashable {
  /// Whether rotations flip signs, and when they are drawn.
  public enum Signs: String, Sendable, Hashable, CaseIterable {
    /// Drawn once from (seed, layer, axis).
    case fixed
    /// Drawn anew every step.
    case redraw
    /// The plain Hadamard matrix, which turns a mean into an outlier.
    case none
  }

  public enum Rounding: String, Sendable, Hashable, CaseIterable {
    case nearest, stochastic
  }

  public var forward = MatmulPrecision.fp32
  /// Of E.
  public var backward = MatmulPrecision.fp32
  /// Of G.
  public var weightGradient = MatmulPrecision.fp32
  public var policy = RotationPolicy.contraction
  /// Largest block of a rotation; an axis that it does not divide takes the largest power of two that does, from 16 on.
  public var rotationBlock = 64
  /// Rotate the whole axis where a Hadamard matrix of its size exists, else in blocks.
  public var rotatesFullWidth = false
  public var signs = Signs.fixed
  /// Of gradients; weights and activations are always rounded to nearest.
  public var gradientRounding = Rounding.nearest
  /// Format of activations, gradients and unquantized weights under precision `mx`.
  public var format = MXFormat.mxint8

  public init() {}

  public static let fullPrecision = LinearArithmetic()

  public var isFullPrecision: Bool { forward == .fp32 && backward == .fp32 && weightGradient == .fp32 }
  /// Whether scales are per tensor and outputs are rotated back (HALO), which exists for 8-bit integers only.
  public var isHALO: Bool { policy.scalesWholeTensors }

  /// Whether a policy has anything to rotate or to scale: bf16 and fp32 have none.
  public var usesRotations: Bool { forward.isInteger || backward.isInteger || weightGradient.isInteger }
}
