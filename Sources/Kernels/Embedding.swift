import CKernels
public import Tensors

/// y[t] = table[ids[t]]; the gradient adds dy[t] to row ids[t] in token order.
public enum Embedding {
  public static func forward(_ y: inout Tensor, of ids: borrowing HostBuffer<Int32>, table: borrowing Tensor) {
    precondition(ids.count >= y.rows && table.columns == y.columns, "embedding: \(ids.count) ids, \(y.rows) rows")
    check(ids, count: y.rows, table: table.rows)
    unsafe KernelTable.current.operations.embedding_forward(
      Int64(y.rows), Int64(y.columns), table.unsafeAddress(), ids.unsafeAddress(), y.unsafeMutableAddress())
  }

  public static func backward(
    _ dTable: inout Tensor, from dy: borrowing Tensor, ids: borrowing HostBuffer<Int32>, output: Linear.Output
  ) {
    precondition(ids.count >= dy.rows && dTable.columns == dy.columns, "embedding backward: \(ids.count) ids")
    check(ids, count: dy.rows, table: dTable.rows)
    if output == .overwrite { dTable.fillWithZeros() }
    unsafe KernelTable.current.operations.embedding_backward(
      Int64(dy.rows), Int64(dy.columns), dy.unsafeAddress(), ids.unsafeAddress(), dTable.unsafeMutableAddress())
  }

  // The kernels take ids on trust: one outside the table would read and write memory of somebody else.
  private static func check(_ ids: borrowing HostBuffer<Int32>, count: Int, table: Int) {
    for t in 0..<count {
      precondition(ids[t] >= 0 && ids[t] < table, "id \(ids[t]) of token \(t) in a table of \(table)")
    }
  }
}
