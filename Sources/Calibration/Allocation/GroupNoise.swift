import Kernels
import Tensors
import Transformer

/// Gaussian noise on the tensors of one group, and the weights that it covers.
///
/// The noise of an element depends on (seed, tensor name, draw, element) alone. Draws come in pairs of opposite sign: what
/// is odd in the perturbation, a gradient of the loss above all, cancels in their mean.
final class GroupNoise {
  private let seed: UInt64
  private let shape: NoiseSensitivity.Noise
  private var saved: Tensor
  private var noise: Tensor
  private var rowSums: HostBuffer<Double>

  /// Room for the largest of `groups`.
  init(_ groups: [AllocationGroup], seed: UInt64, shape: NoiseSensitivity.Noise, in arena: Arena) {
    self.seed = seed
    self.shape = shape
    saved = Tensor(rows: 1, columns: groups.map(\.weights).max() ?? 0, in: arena)
    noise = Tensor(rows: 1, columns: groups.flatMap(\.tensors).map(\.count).max() ?? 0, in: arena)
    rowSums = HostBuffer(count: groups.flatMap(\.tensors).map(\.rows).max() ?? 0, in: arena)
  }

  /// Runs `body` with noise of relative Frobenius size `level` on every tensor of the group, then puts back the weights as
  /// they were, to the bit.
  func with<Result>(
    _ group: AllocationGroup, of parameters: Parameters, level: Double, draw: Int, _ body: () throws -> Result
  ) rethrows -> Result {
    forEachTensor(group, parameters) { _, weights, place in place.copy(from: weights) }
    defer { forEachTensor(group, parameters) { _, weights, place in weights.copy(from: place) } }
    forEachTensor(group, parameters) { spec, weights, place in
      perturb(&weights, place, spec, level: draw % 2 == 0 ? level : -level, pair: draw / 2)
    }
    return try body()
  }

  private func forEachTensor(
    _ group: AllocationGroup, _ parameters: Parameters,
    _ body: (ParameterSpec, _ weights: inout Tensor, _ saved: inout Tensor) -> Void
  ) {
    var offset = 0
    for spec in group.tensors {
      var weights = parameters.units[group.unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
      var place = saved.region(offset, rows: spec.rows, columns: spec.columns)
      body(spec, &weights, &place)
      offset += spec.count
    }
  }

  /// w += level · ‖w‖ · ε / ‖ε‖
  private func perturb(
    _ weights: inout Tensor, _ saved: borrowing Tensor, _ spec: ParameterSpec, level: Double, pair: Int
  ) {
    var epsilon = noise.region(0, rows: spec.rows, columns: spec.columns)
    fill(&epsilon, saved, spec, pair: pair)
    let norm = sumOfSquares(epsilon)
    guard norm > 0 else { return }
    let scale = level * (sumOfSquares(saved) / norm).squareRoot()
    let target = unsafe weights.unsafeMutableAddress(), source = unsafe epsilon.unsafeAddress()
    let base = unsafe saved.unsafeAddress()
    ThreadTeam.shared.parallel(spec.rows, by: 16) { rows in
      for i in rows.lowerBound * spec.columns..<rows.upperBound * spec.columns {
        unsafe target[i] = Float(Double(base[i]) + scale * Double(source[i]))
      }
    }
  }

  private func fill(_ epsilon: inout Tensor, _ weights: borrowing Tensor, _ spec: ParameterSpec, pair: Int) {
    let random = CounterRandom(seed: seed, stream: "sensitivity " + spec.name), columns = spec.columns
    let target = unsafe epsilon.unsafeMutableAddress(), source = unsafe weights.unsafeAddress()
    let followsBlocks = shape == .blocks
    ThreadTeam.shared.parallel(spec.rows, by: 16) { rows in
      for row in rows {
        for start in stride(from: 0, to: columns, by: 32) {
          let block = row * columns + start..<row * columns + min(start + 32, columns)
          var size: Float = 1
          if followsBlocks {
            size = 0
            for i in block { unsafe size = max(size, source[i].magnitude) }
          }
          for i in block { unsafe target[i] = size * Self.normal(random, UInt64(i), UInt64(pair)) }
        }
      }
    }
  }

  /// The sum of eight uniform numbers of 16 bits, centred: normal for every purpose here (excess kurtosis -0.15), and the
  /// same bits on every machine, which a logarithm is not.
  private static func normal(_ random: CounterRandom, _ low: UInt64, _ high: UInt64) -> Float {
    let w = random.words(low, high)
    func halves(_ word: UInt32) -> Int32 { Int32(word & 0xFFFF) + Int32(word >> 16) }
    return Float(halves(w.0) + halves(w.1) + halves(w.2) + halves(w.3) - 4 * 0xFFFF)
  }

  /// Rows are summed each for itself, then in order: threads do not matter.
  private func sumOfSquares(_ x: borrowing Tensor) -> Double {
    rowSquares(x, minus: nil, into: &rowSums)
  }
}

/// Σ (x - y)² over a matrix, of x alone without y: inside a row in order, rows in order. `rows` is room for one sum a row.
func rowSquares(_ x: borrowing Tensor, minus y: UnsafePointer<Float>?, into rows: inout HostBuffer<Double>) -> Double {
  let columns = x.columns, values = unsafe x.unsafeAddress(), sums = unsafe rows.unsafeMutableAddress()
  ThreadTeam.shared.parallel(x.rows, by: 16) { piece in
    for row in piece {
      var sum = 0.0
      for i in row * columns..<(row + 1) * columns {
        let value = unsafe Double(values[i]) - (y.map { unsafe Double($0[i]) } ?? 0)
        sum += value * value
      }
      unsafe sums[row] = sum
    }
  }
  var sum = 0.0
  for row in 0..<x.rows { sum += rows[row] }
  return sum
}
