import CKernels
public import Tensors

/// y[t] = table[ids[t]]; the gradient adds dy[t] to row ids[t] in token order.
public enum Embedding {
  public static func forward(_ y: inout Tensor, of ids: borrowing HostBuffer<Int32>, table: borrowing Tensor) {
    precondition(ids.count >= y.rows && table.columns == y.columns, "embedding: \(ids.count) ids, \(y.rows) rows")
    unsafe KernelTable.current.operations.embedding_forward(
      Int64(y.rows), Int64(y.columns), table.unsafeAddress(), ids.unsafeAddress(), y.unsafeMutableAddress())
  }

  public static func backward(
    _ dTable: inout Tensor, from dy: borrowing Tensor, ids: borrowing HostBuffer<Int32>, output: Linear.Output
  ) {
    precondition(ids.count >= dy.rows && dTable.columns == dy.columns, "embedding backward: \(ids.count) ids")
    if output == .overwrite { dTable.fillWithZeros() }
    unsafe KernelTable.current.operations.embedding_backward(
      Int64(dy.rows), Int64(dy.columns), dy.unsafeAddress(), ids.unsafeAddress(), dTable.unsafeMutableAddress())
  }
}
