import Calibration
import Formats
import Foundation
import Kernels
import Quantization
import Tensors

/// One linear layer with everything that makes quantisation hard: correlated inputs, channels of uneven size, four of
/// them 20 times larger, heavy-tailed weights. The problem of the tables that the bounds of the tests come from.
final class SyntheticLayer {
  static let width = 256
  static let samples = 2048

  let arena = Arena("synthetic layer")
  /// (2048, 256), and as many that nothing is fitted to.
  var inputs: Tensor
  var heldOut: Tensor
  /// (256, 256)
  var weight: Tensor

  init(seed: UInt64 = 1) {
    let K = Self.width, draws = Draws(seed, "layer")
    var mix = Tensor(rows: K, columns: K, in: arena)
    mix.fill { ($0 % (K + 1) == 0 ? 1 : 0) + 0.5 * draws.normal($0) / Double(K).squareRoot() }
    weight = Tensor(rows: K, columns: K, in: arena)
    let tails = Draws(seed, "weight")
    weight.fill { tails.student($0, degrees: 5) / 16 }
    inputs = Self.samples(seed, "inputs", mix, in: arena)
    heldOut = Self.samples(seed, "held out", mix, in: arena)
  }

  private static func samples(_ seed: UInt64, _ stream: String, _ mix: borrowing Tensor, in arena: Arena) -> Tensor {
    let source = Draws(seed, stream), gains = Draws(seed, "gains")
    var z = Tensor(rows: samples, columns: width, in: arena), x = Tensor(rows: samples, columns: width, in: arena)
    z.fill { source.normal($0) }
    Linear.forward(&x, of: z, weight: mix)
    for j in 0..<width {
      x.scale(column: j, by: Float(exp(0.5 * gains.normal(j)) * ([17, 90, 133, 240].contains(j) ? 20 : 1)))
    }
    return x
  }

  /// A copy of memory that a test may change.
  func copy(_ x: borrowing Tensor) -> Tensor {
    var y = Tensor(rows: x.rows, columns: x.columns, in: arena)
    y.copy(from: x)
    return y
  }

  func product(_ x: borrowing Tensor, _ w: borrowing Tensor) -> [Float] {
    var y = Tensor(rows: x.rows, columns: w.rows, in: arena)
    Linear.forward(&y, of: x, weight: w)
    return y.floats()
  }

  /// ‖Q(x') Q(W')ᵀ - x Wᵀ‖² / ‖x Wᵀ‖² on held-out inputs, after `change` of inputs and weight; nil formats do not
  /// round.
  func error(
    weights: MXFormat?, activations: MXFormat? = nil,
    change: (_ x: inout Tensor, _ w: inout Tensor) -> Void = { _, _ in }
  ) -> Double {
    var x = copy(heldOut), w = copy(weight)
    change(&x, &w)
    if let activations { BlockCodec.roundTrip(inPlace: &x, format: activations) }
    if let weights { BlockCodec.roundTrip(inPlace: &w, format: weights) }
    return relativeError(product(x, w), product(heldOut, weight))
  }

  func smoothQuantFactors(_ alpha: Double) -> [Float] {
    SmoothQuant.factors(
      activations: SmoothQuant.columnMaxima(of: inputs), weights: SmoothQuant.columnMaxima(of: weight), alpha: alpha)
  }

  static func scale(_ x: inout Tensor, _ w: inout Tensor, by s: [Float]) {
    for (j, factor) in s.enumerated() {
      x.scale(column: j, by: 1 / factor)
      w.scale(column: j, by: factor)
    }
  }
}

/// x R of every run of `block` elements, with signs along the row.
func rotateBlocks(_ x: inout Tensor, block: Int, signs: [UInt32]) {
  let arena = Arena("rotation"), size = HadamardSize(block)!
  let (rows, columns) = (x.rows, x.columns)
  var values = x.mutableSpan
  for i in 0..<rows * columns where !signs.isEmpty {
    values[i] = Float(bitPattern: values[i].bitPattern ^ signs[i % columns % signs.count])
  }
  let rotation = FullHadamard(matrix: size.matrix.entries, order: size.order, power: size.power)
  var scratch = Tensor(rows: 1, columns: rotation.scratchCount, in: arena)
  var runs = x.region(0, rows: rows * columns / block, columns: block)
  rotation.rotateRows(&runs, scratch: &scratch)
}
