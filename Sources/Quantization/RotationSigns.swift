public import Tensors

/// Random ±1 along an axis, the diagonal of a randomized Hadamard rotation R = diag(s) · H.
///
/// Needed because Sylvester's matrix alone turns a mean into a new outlier: its first column sums the axis.
///
/// Position i has the same sign on every rank, for every length of the axis and at every step: the signs are a function
/// of (seed, stream, redraw, i) and of nothing else. A checkpoint stores the seed, not the signs.
public struct RotationSigns: Sendable {
  /// The axes of a linear layer Y = X Wᵀ; every operand that has the axis is rotated with the same signs.
  public enum Axis: String, Sendable, Hashable, CaseIterable {
    /// m: columns of X and W.
    case input
    /// n: columns of Y, rows of W.
    case output
    /// b: rows of X and Y.
    case tokens
  }

  private let random: CounterRandom

  public init(seed: UInt64, stream: String) {
    random = CounterRandom(seed: seed, stream: "rotation " + stream)
  }

  /// - Parameter layer: the weight's checkpoint name, `model.layers.0.mlp.down_proj.weight`.
  public init(seed: UInt64, layer: String, axis: Axis) {
    self.init(seed: seed, stream: "\(layer) \(axis.rawValue)")
  }

  /// The signs as bits to exclude-or into fp32: 0, or 0x8000_0000 to flip.
  ///
  /// - Parameter redraw: nil for the fixed signs; a number (the step) for new ones with it.
  public func masks(count: Int, redraw: UInt64? = nil) -> [UInt32] {
    precondition(count >= 0, "\(count) signs")
    var masks = [UInt32](repeating: 0, count: count)
    var span = masks.mutableSpan
    fill(&span, redraw: redraw)
    return masks
  }

  public func fill(_ masks: inout HostBuffer<UInt32>, redraw: UInt64? = nil) {
    var span = masks.mutableSpan
    fill(&span, redraw: redraw)
  }

  /// `masks(count:redraw:)` into memory that is there already.
  public func fill(_ masks: inout MutableSpan<UInt32>, redraw: UInt64? = nil) {
    // 128 positions to one draw; draws of the fixed signs have high counter 0, those of redraw r have r + 1.
    let high = redraw.map { $0 &+ 1 } ?? 0
    var words: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
    for i in masks.indices {
      if i % 128 == 0 { words = random.words(UInt64(i / 128), high) }
      let word =
        switch i % 128 / 32 {
        case 0: words.0
        case 1: words.1
        case 2: words.2
        default: words.3
        }
      masks[i] = (word >> UInt32(i % 32)) << 31
    }
  }
}
