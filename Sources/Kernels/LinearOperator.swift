public import Tensors

/// One linear map y = x · Wᵀ with its two gradients, in some arithmetic. Shapes as in ``Linear``.
///
/// `weight` is always the fp32 weight; an operator that multiplies packed codes has packed them from it (or beside it)
/// before the pass.
public protocol LinearOperator {
  func forward(_ y: inout Tensor, of x: borrowing Tensor, weight: borrowing Tensor, output: Linear.Output)
  /// dx = dy · W. `token` is the position of the first row of dy in the rows of the whole pass.
  func backwardInput(
    _ dx: inout Tensor, from dy: borrowing Tensor, weight: borrowing Tensor, token: Int, output: Linear.Output)
  /// dW = dyᵀ · x
  func backwardWeight(
    _ dWeight: inout Tensor, from dy: borrowing Tensor, input x: borrowing Tensor, token: Int, output: Linear.Output)
}

extension LinearOperator {
  public func forward(_ y: inout Tensor, of x: borrowing Tensor, weight: borrowing Tensor) {
    forward(&y, of: x, weight: weight, output: .overwrite)
  }

  public func backwardInput(_ dx: inout Tensor, from dy: borrowing Tensor, weight: borrowing Tensor) {
    backwardInput(&dx, from: dy, weight: weight, token: 0, output: .overwrite)
  }

  public func backwardWeight(_ dWeight: inout Tensor, from dy: borrowing Tensor, input x: borrowing Tensor) {
    backwardWeight(&dWeight, from: dy, input: x, token: 0, output: .overwrite)
  }
}

/// fp32 products.
public struct FullPrecisionLinear: LinearOperator {
  public init() {}

  public func forward(_ y: inout Tensor, of x: borrowing Tensor, weight: borrowing Tensor, output: Linear.Output) {
    Linear.forward(&y, of: x, weight: weight, output: output)
  }

  public func backwardInput(
    _ dx: inout Tensor, from dy: borrowing Tensor, weight: borrowing Tensor, token: Int, output: Linear.Output
  ) {
    Linear.backwardInput(&dx, from: dy, weight: weight, output: output)
  }

  public func backwardWeight(
    _ dWeight: inout Tensor, from dy: borrowing Tensor, input x: borrowing Tensor, token: Int, output: Linear.Output
  ) {
    Linear.backwardWeight(&dWeight, from: dy, input: x, output: output)
  }
}
