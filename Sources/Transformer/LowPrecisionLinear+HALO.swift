import Kernels
import Quantization
import Tensors

/// HALO's placements (arXiv 2501.02625, section 3): one scale a tensor, rotations that are undone on the outputs.
///
///            F                        E                                       G
///   HALO-0   X_Q W_Qᵀ                 (E_Y)_Q W_Q                             (E_Yᵀ)_Q X_Q
///   HALO-1   (X H_K)_Q (W H_K)_Qᵀ     [(E_Y)_Q (W H_K)_Q] H_Kᵀ                [(E_Yᵀ)_Q (X H_K)_Q] H_Kᵀ
///   HALO-2   as HALO-1                H_Tᵀ [(H_T E_Y)_Q (W H_K)_Q] H_Kᵀ       as HALO-1
///
/// The codes of W H_K are the same in F and in E: one scale, one rounding.
extension LowPrecisionLinear {
  func prepareBackwardHALO(_ weight: borrowing Tensor, _ operand: Operand) {
    let quantizer = Quantizer(.tensor(largest: largestWeight))
    guard let rotation = axes.input else { return operand.pack(weight, contracting: .rows, by: quantizer) }
    var rotated = shared.rotated.region(0, rows: outputs, columns: inputs)
    rotated.copy(from: weight)
    rotation.apply(to: &rotated, along: .columns, .forward, shared)
    operand.pack(rotated, contracting: .rows, by: quantizer)
  }

  func backwardInputHALO(
    _ dx: inout Tensor, from dy: borrowing Tensor, _ weights: Operand, token: Int
  ) {
    guard arithmetic.policy == .halo2, let tokenAxis = axes.tokens else {
      packWholeTensor(dy, contracting: .columns, rounding(inputGradientStream, token: token))
      LowPrecisionProduct.multiply(&dx, left: shared.left, right: weights)
      axes.input?.apply(to: &dx, along: .columns, .inverse, shared)
      return
    }
    // Tokens padded with zeros to whole blocks, rotated, multiplied, rotated back, the padding dropped.
    let count = tokenAxis.length
    var rotated = shared.rotated.region(0, rows: count, columns: outputs)
    rotated.fillWithZeros()
    var head = rotated.rows(0..<dy.rows)
    head.copy(from: dy)
    tokenAxis.apply(to: &rotated, along: .rows, .forward, shared)
    packWholeTensor(rotated, contracting: .columns, rounding(inputGradientStream, token: token))
    var product = shared.rotated.region(0, rows: count, columns: inputs)
    LowPrecisionProduct.multiply(&product, left: shared.left, right: weights)
    tokenAxis.apply(to: &product, along: .rows, .inverse, shared)
    dx.copy(from: product.rows(0..<dx.rows))
    axes.input?.apply(to: &dx, along: .columns, .inverse, shared)
  }

  func backwardWeightHALO(
    _ dWeight: inout Tensor, from dy: borrowing Tensor, input x: borrowing Tensor, token: Int
  ) {
    packWholeTensor(dy, contracting: .rows, rounding(weightGradientStream, token: token))
    if let rotation = axes.input {
      var rotated = shared.rotated.region(0, rows: x.rows, columns: x.columns)
      rotated.copy(from: x)
      rotation.apply(to: &rotated, along: .columns, .forward, shared)
      let largest = Largest.magnitude(of: rotated, contracting: .columns)
      shared.right.pack(rotated, contracting: .rows, by: Quantizer(.tensor(largest: largest)))
    } else {
      let largest = Largest.magnitude(of: x, contracting: .columns)
      shared.right.pack(x, contracting: .rows, by: Quantizer(.tensor(largest: largest)))
    }
    LowPrecisionProduct.multiply(&dWeight, left: shared.left, right: shared.right)
    axes.input?.apply(to: &dWeight, along: .columns, .inverse, shared)
  }

  /// Gradients, as they are, with one scale.
  private func packWholeTensor(
    _ dy: borrowing Tensor, contracting: Operand.Contraction, _ rounding: Quantizer.Rounding
  ) {
    let largest = Largest.magnitude(of: dy, contracting: .columns)
    shared.left.pack(dy, contracting: contracting, by: Quantizer(.tensor(largest: largest), rounding: rounding))
  }
}
