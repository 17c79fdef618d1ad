public import Checkpoints
public import Formats
import Kernels
public import Quantization
public import Tensors
public import Transformer

/// Whether one site of one layer is better off rotated (the lower level of RoSTE, Wei et al., arXiv 2502.09003, eq. 8).
///
///     E(R) = ‖Q_w(W R) - W R‖² + (1/n) Σ_i ‖Q_x(x_i R) - x_i R‖²      for R = I and for R = the site's rotation
///
/// over n sequences x_i (T, K). Rotations help where a few channels hold the range and hurt where blocks are already
/// even, so the better of the two differs from layer to layer. Only sites whose rotation is online are free to choose.
///
/// Sums are Double and per sequence: ranks measure theirs, and ``decide(weights:activations:)`` adds them in the order
/// of the sequences, whoever measured them.
public struct RotationChoice: Sendable, Hashable {
  /// Errors without the rotation and with it.
  public struct Errors: Sendable, Hashable, BitwiseCopyable {
    public var plain: Double
    public var rotated: Double

    public init(plain: Double, rotated: Double) {
      self.plain = plain
      self.rotated = rotated
    }
  }

  /// E(I) and E(R).
  public let errors: Errors
  /// Whether R is chosen: only where it is better.
  public var rotates: Bool { errors.rotated < errors.plain }
  /// The error of the choice, at most either.
  public var chosen: Double { min(errors.plain, errors.rotated) }

  public init(errors: Errors) { self.errors = errors }

  /// - Parameters:
  ///   - weights: of every weight that reads the site.
  ///   - activations: of every sequence in order; n is their count.
  public static func decide(weights: [Errors], activations: [Errors]) -> RotationChoice {
    let n = Double(max(1, activations.count))
    func sum(_ part: KeyPath<Errors, Double>) -> Double {
      weights.reduce(0) { $0 + $1[keyPath: part] } + activations.reduce(0) { $0 + $1[keyPath: part] } / n
    }
    return RotationChoice(errors: Errors(plain: sum(\.plain), rotated: sum(\.rotated)))
  }

  /// ‖Q(x) - x‖² and ‖Q(x R) - x R‖² of one tensor whose rows flow through the site, (T, K), or multiply it, (N, K).
  ///
  /// - Parameters:
  ///   - x: as it is without rotation.
  ///   - format: nil for what is not quantised, whose error is 0.
  ///   - rotate: x <- x R.
  public static func errors(
    of x: borrowing Tensor, format: MXFormat?, rule: ScaleRule = .floor, rotate: (inout Tensor) -> Void
  ) -> Errors {
    guard let format else { return Errors(plain: 0, rotated: 0) }
    let arena = Arena("rotation choice")
    var values = Tensor(rows: x.rows, columns: x.columns, in: arena)
    var rounded = Tensor(rows: x.rows, columns: x.columns, in: arena)
    values.copy(from: x)
    BlockCodec.roundTrip(&rounded, of: values, format: format, rule: rule)
    let plain = rounded.squaredDistance(to: values)
    rotate(&values)
    BlockCodec.roundTrip(&rounded, of: values, format: format, rule: rule)
    return Errors(plain: plain, rotated: rounded.squaredDistance(to: values))
  }

  /// The same with the rotation that `rotations` has at one place.
  public static func errors(
    of x: borrowing Tensor, format: MXFormat?, rule: ScaleRule = .floor, rotations: OnlineRotations, layer: Int,
    site: OnlineTransforms.Site
  ) -> Errors {
    errors(of: x, format: format, rule: rule) { rotations.apply(to: &$0, layer: layer, site: site) }
  }

  /// `{"plain": E(I), "rotated": E(R), "rotates": ...}`
  public var json: JSONValue {
    ["plain": .number(errors.plain), "rotated": .number(errors.rotated), "rotates": .bool(rotates)]
  }
}
