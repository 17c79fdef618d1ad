import Quantization

/// The products of a linear layer under a rotation policy, in double precision: what kernels and trainer are to
/// compute.
///
/// Shapes: X (b, m), W (n, m), E_Y (b, n). A product is left · rightᵀ over two sets of vectors (rows) of `depth`
/// elements, as the kernels see it; one function serves F, E and G.
struct RotationModel {
  enum Quantizer { case off, int8, e4m3 }
  /// What rotates an axis: blocks of at most this size, or its full width.
  enum Width { case block(Int), full }

  var quantizer = Quantizer.int8
  var wholeTensors = false
  var width = Width.block(64)
  /// Nil: no signs, plain Sylvester (or Paley ...).
  var seed: UInt64?

  init(quantizer: Quantizer = .int8, wholeTensors: Bool = false, width: Width = .block(64), seed: UInt64? = nil) {
    self.quantizer = quantizer
    self.wholeTensors = wholeTensors
    self.width = width
    self.seed = seed
  }

  /// As the policy prescribes.
  init(_ policy: RotationPolicy, quantizer: Quantizer = .int8, seed: UInt64? = nil) {
    self.init(quantizer: quantizer, wholeTensors: policy.scalesWholeTensors,
              width: policy.scalesWholeTensors ? .full : .block(64), seed: seed)
  }

  /// One step of a layer's operands.
  struct Layer {
    var x: DoubleMatrix, w: DoubleMatrix, dy: DoubleMatrix

    /// Left and right operand, the contracted axis along the rows.
    func operands(of product: LinearProduct) -> (DoubleMatrix, DoubleMatrix) {
      switch product {
      case .forward: (x, w)
      case .inputGradient: (dy, w.transposed)
      case .weightGradient: (dy.transposed, x.transposed)
      }
    }

    /// Without rotation or quantizer.
    func plain(_ product: LinearProduct) -> DoubleMatrix {
      let (left, right) = operands(of: product)
      return DoubleMatrix.dots(left, right)
    }
  }

  func compute(_ product: LinearProduct, of layer: Layer, _ placement: RotationPlacement) -> DoubleMatrix {
    var (left, right) = layer.operands(of: product)
    let (rows, columns) = (left.rows, right.rows)
    if placement.contains(.middle) {
      left = rotated(left, along: product.contraction)
      right = rotated(right, along: product.contraction)
    }
    if placement.contains(.left) { left = rotated(left.transposed, along: product.leftAxis).transposed }
    if placement.contains(.right) { right = rotated(right.transposed, along: product.rightAxis).transposed }

    var output = DoubleMatrix.dots(quantized(left), quantized(right))
    if placement.contains(.left) {
      output = rotated(output.transposed, along: product.leftAxis, inverse: true).transposed
    }
    if placement.contains(.right) { output = rotated(output, along: product.rightAxis, inverse: true) }
    // Tokens may have been padded for the left rotation.
    return output.rows == rows && output.columns == columns ? output : output.resized(rows, columns)
  }

  // MARK: Rotation

  /// Every row times R, or Rᵀ. Tokens are padded with zero rows to a multiple of 64 first; features never are.
  func rotated(_ x: DoubleMatrix, along axis: RotationSigns.Axis, inverse: Bool = false) -> DoubleMatrix {
    let size = axis == .tokens ? (x.columns + 63) / 64 * 64 : x.columns
    var y = size == x.columns ? x : x.resized(x.rows, size)
    let masks = seed.map { RotationSigns(seed: $0, layer: "model", axis: axis).masks(count: size) }
    let signs = masks.map { $0.map { $0 == 0 ? 1.0 : -1.0 } } ?? [Double](repeating: 1, count: size)
    switch width {
    case .full:
      guard let factors = HadamardSize(size) else { preconditionFailure("no Hadamard matrix for \(size)") }
      Self.transform(&y, order: factors.order, power: factors.power, signs: signs, inverse: inverse)
    case .block(let limit):
      let block = HadamardSize.block(dividing: size, atMost: limit)
      precondition(block > 0, "no block for \(size)")
      // Blocks are rows of their own, with the signs of their position in the axis.
      var blocks = DoubleMatrix(y.rows * (size / block), block)
      blocks.values = y.values
      Self.transform(&blocks, order: 1, power: block, signs: signs, inverse: inverse)
      y.values = blocks.values
    }
    return y
  }

  /// x <- (x ∘ s) (H_K ⊗ H_P) / sqrt(d) on every row, or its transpose; row i takes the signs of run i of `signs`.
  static func transform(_ x: inout DoubleMatrix, order: Int, power: Int, signs: [Double], inverse: Bool) {
    let size = order * power, runs = signs.count / size, scale = 1 / Double(size).squareRoot()
    let matrix = HadamardMatrix(order: order)!
    let weights = (0..<order * order).map { i in
      Double(inverse ? matrix[i % order, i / order] : matrix[i / order, i % order])
    }
    var row = [Double](repeating: 0, count: size)
    for i in 0..<x.rows {
      let start = i * size, sign = i % runs * size
      for c in 0..<size { row[c] = x.values[start + c] * (inverse ? 1 : signs[sign + c]) }
      var distance = 1
      while distance < power {
        for c in 0..<size where c & distance == 0 {
          (row[c], row[c + distance]) = (row[c] + row[c + distance], row[c] - row[c + distance])
        }
        distance *= 2
      }
      for c in 0..<size { x.values[start + c] = 0 }
      for source in 0..<order {
        for target in 0..<order {
          let weight = weights[source * order + target] * scale
          for c in 0..<power { x.values[start + target * power + c] += weight * row[source * power + c] }
        }
      }
      if inverse { for c in 0..<size { x.values[start + c] *= signs[sign + c] } }
    }
  }

  // MARK: Quantization

  /// Dequantized values: one scale for the tensor, or for each row.
  func quantized(_ x: DoubleMatrix) -> DoubleMatrix {
    guard quantizer != .off else { return x }
    var y = x
    for rows in wholeTensors ? [0..<x.rows] : (0..<x.rows).map({ $0..<$0 + 1 }) {
      let range = rows.lowerBound * x.columns..<rows.upperBound * x.columns
      let largest = range.reduce(0) { max($0, abs(x.values[$1])) }
      guard largest > 0 else { continue }
      let scale = largest / (quantizer == .int8 ? 127 : 448)
      for i in range { y.values[i] = round(x.values[i] / scale) * scale }
    }
    return y
  }

  private func round(_ value: Double) -> Double {
    if quantizer == .int8 { return min(max(value.rounded(.toNearestOrEven), -127), 127) }
    // E4M3: 3 bits behind the leading one, smallest normal 2^-6.
    let step = value == 0 ? 1 : Double(sign: .plus, exponent: max(value.exponent, -6) - 3, significand: 1)
    return min(max((value / step).rounded(.toNearestOrEven) * step, -448), 448)
  }
}
