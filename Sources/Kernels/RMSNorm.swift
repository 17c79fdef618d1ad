import CKernels
public import Tensors

/// y = x · rstd · gain with rstd = 1 / sqrt(mean(x²) + ε)   (Zhang & Sennrich 2019, eq. 4)
///
/// Shapes: x, y (T, D); gain (1, D); rstd (T). Per head (Qwen3's norm of queries and keys) D is the head dimension and
/// the rows of one head lie `stride` apart.
public enum RMSNorm {
  public static func forward(
    _ y: inout Tensor, rstd: inout Tensor, of x: borrowing Tensor, gain: borrowing Tensor, epsilon: Float
  ) {
    precondition(x.rows == y.rows && x.columns == y.columns && gain.count == x.columns && rstd.count >= x.rows,
      "rms norm: x \(x.rows) x \(x.columns), y \(y.rows) x \(y.columns), gain \(gain.count), rstd \(rstd.count)")
    let operations = KernelTable.current.operations, D = x.columns, T = x.rows
    let x = unsafe x.unsafeAddress(), gain = unsafe gain.unsafeAddress()
    let y = unsafe y.unsafeMutableAddress(), rstd = unsafe rstd.unsafeMutableAddress()
    ThreadTeam.shared.parallel(T, by: rowGrain(columns: D)) { rows in
      let t = rows.lowerBound
      unsafe operations.rms_norm_forward(
        Int64(rows.count), Int64(D), epsilon, x + t * D, Int64(D), gain, y + t * D, Int64(D), rstd + t)
    }
  }

  /// dx += rstd · (gain · dy - x · rstd² · mean(gain · dy · x)),  dgain += Σₜ dy · x · rstd
  public static func backward(
    dx: inout Tensor, dGain: inout Tensor, from dy: borrowing Tensor, input x: borrowing Tensor,
    gain: borrowing Tensor, rstd: borrowing Tensor
  ) {
    precondition(x.rows == dy.rows && x.columns == dy.columns && dx.count == x.count && dGain.count == x.columns,
      "rms norm backward: x \(x.rows) x \(x.columns), dy \(dy.rows) x \(dy.columns), dx \(dx.count), dgain \(dGain.count)")
    unsafe KernelTable.current.operations.rms_norm_backward(
      Int64(x.rows), Int64(x.columns), x.unsafeAddress(), Int64(x.columns), gain.unsafeAddress(), rstd.unsafeAddress(),
      dy.unsafeAddress(), Int64(dy.columns), dx.unsafeMutableAddress(), dGain.unsafeMutableAddress())
  }

  /// The same over `heads` heads of `gain.count` columns each, read from columns `fromColumn...` of x and written to
  /// columns `toColumn...` of y. rstd is (heads, T), rows `rstdRow...`.
  public static func forwardPerHead(
    _ y: inout Tensor, toColumn: Int, rstd: inout Tensor, rstdRow: Int, of x: borrowing Tensor, fromColumn: Int,
    heads: Int, gain: borrowing Tensor, epsilon: Float
  ) {
    let d = gain.count, T = x.rows
    precondition(fromColumn + heads * d <= x.columns && toColumn + heads * d <= y.columns && rstd.columns >= T
      && rstdRow + heads <= rstd.rows, "per-head rms norm: \(heads) heads of \(d) at \(fromColumn) of \(x.columns)")
    let operations = KernelTable.current.operations, gain = unsafe gain.unsafeAddress()
    let source = unsafe x.unsafeAddress() + fromColumn, sourceStride = x.columns
    let target = unsafe y.unsafeMutableAddress() + toColumn, targetStride = y.columns
    let sums = unsafe rstd.unsafeMutableAddress() + rstdRow * rstd.columns, sumStride = rstd.columns
    ThreadTeam.shared.parallel(heads) { head, _ in
      unsafe operations.rms_norm_forward(
        Int64(T), Int64(d), epsilon, source + head * d, Int64(sourceStride), gain, target + head * d,
        Int64(targetStride), sums + head * sumStride)
    }
  }

  /// Backward of `forwardPerHead`; dx at columns `fromColumn...` accumulates, dgain sums over heads in order.
  public static func backwardPerHead(
    dx: inout Tensor, fromColumn: Int, dGain: inout Tensor, from dy: borrowing Tensor, toColumn: Int,
    input x: borrowing Tensor, heads: Int, gain: borrowing Tensor, rstd: borrowing Tensor, rstdRow: Int
  ) {
    let d = gain.count, T = x.rows
    precondition(dx.columns == x.columns, "per-head rms norm backward: dx \(dx.columns), x \(x.columns) columns")
    for head in 0..<heads {
      let column = fromColumn + head * d
      unsafe KernelTable.current.operations.rms_norm_backward(
        Int64(T), Int64(d), x.unsafeAddress() + column, Int64(x.columns), gain.unsafeAddress(),
        rstd.unsafeAddress() + (rstdRow + head) * rstd.columns, dy.unsafeAddress() + toColumn + head * d,
        Int64(dy.columns), dx.unsafeMutableAddress() + column, dGain.unsafeMutableAddress())
    }
  }
}
