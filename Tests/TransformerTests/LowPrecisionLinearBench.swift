import Formats
import Kernels
import Quantization
import Tensors
import Transformer

/// One linear layer with data that outliers spoil: 8 channels of X and 5 tokens of dY are 50 times larger (the data of the
/// low-precision reference, section 3, on a smaller shape).
final class Bench {
  let (T, K, N) = LowPrecisionLinearTests.shape
  let arena = Arena("low precision")
  let shared: LowPrecisionScratch
  let linear: LowPrecisionLinear
  var x: Tensor, w: Tensor, dy: Tensor
  var y: Tensor, dx: Tensor, dw: Tensor
  private var codes: PackedTensor?

  init(_ arithmetic: LinearArithmetic, formats: [MXFormat] = []) {
    let needs = LowPrecisionLinear.capacities(arithmetic, inputs: K, outputs: N, tokens: T, formats: formats)
    shared = LowPrecisionScratch(
      seed: 5, left: needs.left, right: needs.right, rotatedElements: 384 * 384, in: arena)
    linear = LowPrecisionLinear(
      "test.weight", arithmetic, inputs: K, outputs: N, tokens: T, formats: formats, shared: shared, in: arena)
    linear.axes.draw(step: 0)
    x = Tensor(rows: T, columns: K, in: arena)
    w = Tensor(rows: N, columns: K, in: arena)
    dy = Tensor(rows: T, columns: N, in: arena)
    y = Tensor(rows: T, columns: N, in: arena)
    dx = Tensor(rows: T, columns: K, in: arena)
    dw = Tensor(rows: N, columns: K, in: arena)
  }

  /// - Parameters:
  ///   - activations: a format that x is exact in.
  ///   - weights: a format that the weight has codes of.
  func fill(mean: Float = 0, outliers: Bool = true, activations: MXFormat? = nil, weights: MXFormat? = nil,
    weightScale: Float = 1
  ) {
    Self.gaussian(&x, seed: 1, mean: mean) { _, column in outliers && column % 40 == 3 ? 50 : 1 }
    Self.gaussian(&w, seed: 2) { _, _ in weightScale }
    Self.gaussian(&dy, seed: 3) { row, _ in row % 40 == 7 ? 50 : 1 }
    if let activations { BlockCodec.roundTrip(inPlace: &x, format: activations) }
    guard let weights else { return linear.prepare(weight: w, codes: nil, activations: nil) }
    var packed = PackedTensor(weights, rows: N, columns: K, in: arena)
    BlockCodec.quantize(&packed, from: w)
    BlockCodec.dequantize(&w, from: packed)
    let codes = unsafe WeightCodes(
      format: weights, codes: packed.codes.unsafeAddress(), scales: packed.scales.unsafeAddress())
    linear.prepare(weight: w, codes: codes, activations: nil)
  }

  func setInput(_ index: Int, _ value: Float) {
    set(&x, index, value)
  }

  /// Relative Frobenius errors of the three products against double.
  func errors() -> (f: Double, e: Double, g: Double) {
    linear.forward(&y, of: x, weight: w)
    linear.backwardInput(&dx, from: dy, weight: w)
    linear.backwardWeight(&dw, from: dy, input: x)
    let (X, W, DY) = (values(x), values(w), values(dy))
    let f = relativeError(values(y), product(T, N, K, { X[$0 * K + $1] }, { W[$0 * K + $1] }))
    let e = relativeError(values(dx), product(T, K, N, { DY[$0 * N + $1] }, { W[$1 * K + $0] }))
    let g = relativeError(values(dw), product(N, K, T, { DY[$1 * N + $0] }, { X[$1 * K + $0] }))
    return (f, e, g)
  }

  /// dy · Q(W), W rounded along the outputs, as the operator's own operand is.
  func exactInputGradient(quantized format: MXFormat) -> [Double] {
    var transposed = Tensor(rows: K, columns: N, in: arena)
    let W = values(w), DY = values(dy)
    for n in 0..<N { for k in 0..<K { set(&transposed, k * N + n, W[n * K + k]) } }
    BlockCodec.roundTrip(inPlace: &transposed, format: format)
    let Q = values(transposed)
    return product(T, K, N, { DY[$0 * N + $1] }, { Q[$0 * N + $1] })
  }

  /// left (m, depth) · right (n, depth)ᵀ in double.
  private func product(
    _ m: Int, _ n: Int, _ depth: Int, _ left: (Int, Int) -> Float, _ right: (Int, Int) -> Float
  ) -> [Double] {
    var result = [Double](repeating: 0, count: m * n)
    let l = (0..<m * depth).map { Double(left($0 / depth, $0 % depth)) }
    let r = (0..<n * depth).map { Double(right($0 / depth, $0 % depth)) }
    for i in 0..<m {
      for j in 0..<n {
        var sum = 0.0
        for k in 0..<depth { sum += l[i * depth + k] * r[j * depth + k] }
        result[i * n + j] = sum
      }
    }
    return result
  }

  private static func gaussian(
    _ x: inout Tensor, seed: UInt64, mean: Float = 0, factor: (Int, Int) -> Float
  ) {
    let random = CounterRandom(seed: seed, stream: "gaussian"), columns = x.columns
    var span = x.mutableSpan
    for i in 0..<span.count {
      // Twelve uniforms: close enough to a normal distribution, and without a logarithm.
      var sum = -6.0
      for j in 0..<12 { sum += random.uniform(UInt64(12 * i + j)) }
      span[i] = (Float(sum) + mean) * factor(i / columns, i % columns)
    }
  }
}

func relativeError(_ found: [Float], _ exact: [Double]) -> Double { relativeError(found.map { Double($0) }, exact) }

/// The elements as an array: a class lends no span of what it holds.
func values(_ x: borrowing Tensor) -> [Float] {
  let span = x.span
  return (0..<span.count).map { span[$0] }
}

private func set(_ x: inout Tensor, _ index: Int, _ value: Float) {
  var span = x.mutableSpan
  span[index] = value
}

func relativeError(_ found: [Double], _ exact: [Double]) -> Double {
  var error = 0.0, norm = 0.0
  for (a, b) in zip(found, exact) {
    error += (a - b) * (a - b)
    norm += b * b
  }
  return (error / norm).squareRoot()
}
