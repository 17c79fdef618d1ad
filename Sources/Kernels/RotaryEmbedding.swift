import CKernels
public import Tensors

/// Rotary position embedding, half-split pairs (i, i + d/2) as Hugging Face checkpoints expect (Su et al. 2021, eq. 15).
///
/// A rotation is orthogonal: its backward is the rotation by the negative angle.
public enum RotaryEmbedding {
  public enum Direction: Sendable {
    case forward, backward
    var sign: Int32 { self == .forward ? 1 : -1 }
  }

  /// Rotates `heads` heads of width `d` = 2 · cosines.columns at columns `column...` of x (T, ·), in place. Row t has
  /// position (first + t) mod period; the period is the sequence length where a batch stacks sequences.
  public static func apply(
    _ x: inout Tensor, column: Int, heads: Int, cosines: borrowing Tensor, sines: borrowing Tensor,
    first: Int = 0, period: Int, direction: Direction
  ) {
    let d = 2 * cosines.columns
    precondition(column + heads * d <= x.columns, "rope: \(heads) heads of \(d) at column \(column) of \(x.columns)")
    precondition(min(first + x.rows, period) <= cosines.rows, "rope: position \(first + x.rows - 1) of \(cosines.rows)")
    unsafe KernelTable.current.operations.rope(
      Int64(x.rows), Int64(heads), Int64(d), x.unsafeMutableAddress() + column, Int64(x.columns),
      cosines.unsafeAddress(), sines.unsafeAddress(), Int64(first), Int64(period), direction.sign)
  }
}
