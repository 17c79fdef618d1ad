import CKernels
public import Tensors

/// Sums of squares row by row, in double: summands of a global norm that do not depend on who owns which rows.
public enum GradientNorm {
  /// sums[sumOffset + r] = Σ over columns of x[offset + r · columns + c]²
  public static func rowSums(
    of x: borrowing Tensor, at offset: Int, rows: Int, columns: Int, into sums: inout HostBuffer<Double>,
    at sumOffset: Int
  ) {
    precondition(offset >= 0 && offset + rows * columns <= x.count && sumOffset >= 0 && sumOffset + rows <= sums.count,
      "row sums of \(rows) x \(columns) at \(offset) of \(x.count), into \(sumOffset) of \(sums.count)")
    let operations = KernelTable.current.operations
    let x = unsafe x.unsafeAddress() + offset, sums = unsafe sums.unsafeMutableAddress() + sumOffset
    ThreadTeam.shared.parallel(rows, by: rowGrain(columns: columns)) { piece in
      unsafe operations.row_sums_of_squares(
        Int64(piece.count), Int64(columns), x + piece.lowerBound * columns, sums + piece.lowerBound)
    }
  }
}
