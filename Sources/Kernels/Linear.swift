import CKernels
public import Tensors

/// y = x · Wᵀ + b, and its two gradients.
///
/// Shapes: x (T, K), W (N, K) as checkpoints store it, b (1, N), y (T, N).
public enum Linear {
  /// What a product does with the values that its output holds already.
  public enum Output: Sendable {
    case overwrite, accumulate
    var beta: Float { self == .overwrite ? 0 : 1 }
  }

  /// y = x · Wᵀ, or y += x · Wᵀ for a residual connection.
  public static func forward(
    _ y: inout Tensor, of x: borrowing Tensor, weight: borrowing Tensor, output: Output = .overwrite
  ) {
    precondition(x.columns == weight.columns && y.rows == x.rows && y.columns == weight.rows,
      "linear forward: y \(y.rows) x \(y.columns) = x \(x.rows) x \(x.columns) · (W \(weight.rows) x \(weight.columns))ᵀ")
    unsafe Gemm.multiply(
      y.unsafeMutableAddress(), ldc: y.columns, m: y.rows, n: y.columns, k: x.columns,
      x.unsafeAddress(), lda: x.columns, weight.unsafeAddress(), .transposed, ldb: weight.columns, beta: output.beta)
  }

  /// y[t] += b
  public static func addBias(_ y: inout Tensor, bias: borrowing Tensor) {
    precondition(bias.count == y.columns, "bias of \(bias.count) for \(y.columns) columns")
    unsafe KernelTable.current.operations.bias_forward(
      Int64(y.rows), Int64(y.columns), bias.unsafeAddress(), y.unsafeMutableAddress(), Int64(y.columns))
  }

  /// dx = dy · W   (undoes y = x · Wᵀ)
  public static func backwardInput(
    _ dx: inout Tensor, from dy: borrowing Tensor, weight: borrowing Tensor, output: Output = .overwrite
  ) {
    precondition(dy.columns == weight.rows && dx.rows == dy.rows && dx.columns == weight.columns,
      "linear backward: dx \(dx.rows) x \(dx.columns) = dy \(dy.rows) x \(dy.columns) · W \(weight.rows) x \(weight.columns)")
    unsafe Gemm.multiply(
      dx.unsafeMutableAddress(), ldc: dx.columns, m: dx.rows, n: dx.columns, k: dy.columns,
      dy.unsafeAddress(), lda: dy.columns, weight.unsafeAddress(), ldb: weight.columns, beta: output.beta)
  }

  /// dW = dyᵀ · x
  public static func backwardWeight(
    _ dWeight: inout Tensor, from dy: borrowing Tensor, input x: borrowing Tensor, output: Output = .overwrite
  ) {
    precondition(dy.rows == x.rows && dWeight.rows == dy.columns && dWeight.columns == x.columns,
      "linear backward: dW \(dWeight.rows) x \(dWeight.columns) = (dy \(dy.rows) x \(dy.columns))ᵀ · x \(x.rows) x \(x.columns)")
    unsafe Gemm.multiply(
      dWeight.unsafeMutableAddress(), ldc: dWeight.columns, m: dWeight.rows, n: dWeight.columns, k: dy.rows,
      dy.unsafeAddress(), .transposed, lda: dy.columns, x.unsafeAddress(), ldb: x.columns, beta: output.beta)
  }

  /// db = sum over tokens of dy
  public static func backwardBias(_ dBias: inout Tensor, from dy: borrowing Tensor) {
    precondition(dBias.count == dy.columns, "bias of \(dBias.count) for \(dy.columns) columns")
    dBias.fillWithZeros()
    unsafe KernelTable.current.operations.bias_backward(
      Int64(dy.rows), Int64(dy.columns), dy.unsafeAddress(), Int64(dy.columns), dBias.unsafeMutableAddress())
  }
}
