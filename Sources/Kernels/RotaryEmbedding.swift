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
    let operations = KernelTable.current.operations, stride = x.columns, T = x.rows
    let target = unsafe x.unsafeMutableAddress() + column
    let cosines = unsafe cosines.unsafeAddress(), sines = unsafe sines.unsafeAddress()
    ThreadTeam.shared.parallel(T, by: rowGrain(columns: heads * d)) { rows in
      let t = rows.lowerBound
      unsafe operations.rope(
        Int64(rows.count), Int64(heads), Int64(d), target + t * stride, Int64(stride), cosines, sines, Int64(first + t),
        Int64(period), direction.sign)
    }
  }
}
