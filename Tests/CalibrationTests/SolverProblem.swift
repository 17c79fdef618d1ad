import Calibration
import Formats
import Kernels
import Tensors

#if canImport(Glibc)
  import Glibc
#endif

/// Numbers of known distributions, by counter.
enum Distributions {
  static func gaussian(_ count: Int, _ stream: String) -> [Double] {
    let random = CounterRandom(seed: 11, stream: stream)
    return (0..<count).map { i in
      let radius = (-2 * log(1 - random.uniform(UInt64(i)))).squareRoot()
      return radius * cos(2 * .pi * random.uniform(UInt64(i) | 1 << 40))
    }
  }

  static func laplace(_ count: Int, _ stream: String) -> [Double] {
    let random = CounterRandom(seed: 12, stream: stream)
    return (0..<count).map { i in
      let u = random.uniform(UInt64(i)) - 0.5
      return (u < 0 ? 1 : -1) * log(max(1 - 2 * abs(u), 1e-300))
    }
  }

  /// Student's t of n degrees of freedom.
  static func student(_ count: Int, _ n: Int, _ stream: String) -> [Double] {
    let numerators = gaussian(count, stream), squares = (0..<n).map { gaussian(count, "\(stream) \($0)") }
    return (0..<count).map { i in
      numerators[i] / (squares.reduce(0) { $0 + $1[i] * $1[i] } / Double(n)).squareRoot()
    }
  }
}

func tensor(_ rows: Int, _ columns: Int, _ values: [Double], in arena: Arena) -> Tensor {
  var tensor = Tensor(rows: rows, columns: columns, in: arena)
  var span = tensor.mutableSpan
  for i in 0..<rows * columns { span[i] = Float(values[i]) }
  return tensor
}

/// The layer of the reference's section 4.3: 256 x 256, correlated inputs of log-normal channel gains, four of them
/// 20 times as large, t5 weights; moments of 4096 samples to round by, and of 4096 others to measure by.
final class CorrelatedLayer {
  let K = 256, N = 256
  let arena = Arena("correlated layer")
  let weight: Tensor
  let gram: Gram
  let heldOut: LayerError

  init() {
    let K = 256, N = 256, T = 4096
    weight = tensor(N, K, Distributions.student(N * K, 5, "weights").map { 0.02 * $0 }, in: arena)
    let mixing = tensor(K, K, Distributions.gaussian(K * K, "mixing").map { $0 / 16 }, in: arena)
    var gains = Distributions.gaussian(K, "gains").map { exp(0.5 * $0) }
    for channel in [5, 77, 130, 201] { gains[channel] *= 20 }
    func moments(_ stream: String, _ arena: Arena) -> Gram {
      let z = tensor(T, K, Distributions.gaussian(T * K, stream), in: arena)
      var x = Tensor(rows: T, columns: K, in: arena), c = Tensor(rows: K, columns: K, in: arena)
      Linear.forward(&x, of: z, weight: mixing)
      var span = x.mutableSpan
      for i in 0..<T * K { span[i] *= Float(gains[i % K]) }
      Linear.backwardWeight(&c, from: x, input: x)
      let gram = Gram(columns: K, tokens: T, in: arena)
      for i in 0..<K { for j in 0..<K { gram.values[i * K + j] = Double(c.span[max(i, j) * K + min(i, j)]) } }
      return gram
    }
    gram = moments("calibration", arena)
    heldOut = LayerError(moments("held out", arena))
  }

  func round(_ plan: RoundingPlan) throws -> PackedTensor {
    var packed = PackedTensor(plan.format, rows: N, columns: K, in: arena)
    let solver = try RoundingSolver(plan, columns: K, gram: gram, name: "layer")
    try solver.solve(weight, tiles: 0..<RoundingSolver.tileCount(rows: N), into: &packed)
    return packed
  }

  func error(_ plan: RoundingPlan) throws -> LayerErrorSums { heldOut.total(of: weight, rounded: try round(plan)) }

  func slice(_ anchor: borrowing PackedTensor, to format: MXFormat) throws -> PackedTensor {
    var sliced = PackedTensor(format, rows: N, columns: K, in: arena)
    BlockCodec.slice(&sliced, from: anchor, plan: try SlicePlan(from: anchor.format, to: format))
    return sliced
  }
}

func bytes(_ packed: borrowing PackedTensor) -> [UInt8] {
  (0..<packed.codes.count).map { packed.codes[$0] } + (0..<packed.scales.count).map { packed.scales[$0] }
}

func decoded(_ packed: borrowing PackedTensor) -> [Float] {
  var y = Tensor(rows: packed.rows, columns: packed.columns, in: Arena("values"))
  BlockCodec.dequantize(&y, from: packed)
  return (0..<y.count).map { y.span[$0] }
}
