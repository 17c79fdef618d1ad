import Formats
import Kernels
public import Tensors

/// How far rounded weights Ŵ are from W, and their layer's outputs with them: sums that ranks add up.
public struct LayerErrorSums: Sendable, Hashable, BitwiseCopyable {
  /// tr((W - Ŵ) C (W - Ŵ)ᵀ)
  public var output = 0.0
  /// tr(W C Wᵀ)
  public var outputReference = 0.0
  /// ‖W - Ŵ‖²
  public var weight = 0.0
  /// ‖W‖²
  public var weightReference = 0.0

  public init() {}

  /// Squared error of the outputs over all tokens of C, relative to the outputs' own squares.
  public var relativeOutput: Double { outputReference > 0 ? output / outputReference : 0 }
  /// The same of the weights.
  public var relativeWeight: Double { weightReference > 0 ? weight / weightReference : 0 }

  public static func += (sums: inout LayerErrorSums, other: LayerErrorSums) {
    sums.output += other.output
    sums.outputReference += other.outputReference
    sums.weight += other.weight
    sums.weightReference += other.weightReference
  }
}

/// Measures rounded weights against the second moments of their input, which need not be those they were rounded by.
public final class LayerError {
  public let columns: Int
  private let form: QuadraticForm
  private let arena = Arena("layer error")
  private var scratch: [TensorBox] = []

  public init(_ gram: Gram) {
    columns = gram.columns
    form = QuadraticForm(gram.values, columns: gram.columns, in: arena)
  }

  /// One tile after the other of ``RoundingSolver``'s: combined in this order by whoever owns them, totals do not depend
  /// on ranks or threads.
  ///
  /// - Parameters:
  ///   - weight: W (N, K).
  ///   - rounded: Ŵ (N, K) in any format.
  public func sums(
    of weight: borrowing Tensor, rounded: borrowing PackedTensor, tiles: Range<Int>
  ) -> [LayerErrorSums] {
    let N = weight.rows, K = columns, limit = RoundingSolver.tileRows, blocks = PackedTensor.blockCount(K)
    precondition(weight.columns == K && rounded.rows == N && rounded.columns == K, "\(N) x \(weight.columns) by \(K) columns")
    precondition(tiles.lowerBound >= 0 && tiles.upperBound <= RoundingSolver.tileCount(rows: N), "tiles \(tiles)")
    while scratch.count < ThreadTeam.shared.threads {
      let count = limit * K + QuadraticForm.scratchCount(rows: limit)
      scratch.append(TensorBox(rows: 1, columns: count, in: arena))
    }
    let w = unsafe weight.unsafeAddress(), codes = unsafe rounded.codes.unsafeAddress()
    let scales = unsafe rounded.scales.unsafeAddress(), format = rounded.format
    var results = HostBuffer<LayerErrorSums>(count: tiles.count, in: Arena("sums"))
    let sums = unsafe results.unsafeMutableAddress()
    let form = form, scratch = scratch
    ThreadTeam.shared.parallel(tiles.count, workers: scratch.count) { item, worker in
      let rows = RoundingSolver.rows(ofTile: tiles.lowerBound + item, of: N), first = rows.lowerBound
      let d = unsafe scratch[worker].values.unsafeMutableAddress(), w = unsafe w + first * K
      unsafe BlockCodec.dequantizeRows(
        rows: rows.count, columns: K, codes: codes + first * K, scales: scales + first * blocks, to: d, format: format)
      var tile = LayerErrorSums()
      for i in 0..<rows.count * K {
        let original = unsafe w[i], error = unsafe original - d[i]
        unsafe d[i] = error
        tile.weight += Double(error) * Double(error)
        tile.weightReference += Double(original) * Double(original)
      }
      unsafe tile.output = form.value(d, rows: rows.count, scratch: d + limit * K)
      unsafe tile.outputReference = form.value(w, rows: rows.count, scratch: d + limit * K)
      unsafe sums[item] = tile
    }
    return (0..<tiles.count).map { results[$0] }
  }

  /// All tiles, in order.
  public func total(of weight: borrowing Tensor, rounded: borrowing PackedTensor) -> LayerErrorSums {
    var total = LayerErrorSums()
    for tile in sums(of: weight, rounded: rounded, tiles: 0..<RoundingSolver.tileCount(rows: weight.rows)) {
      total += tile
    }
    return total
  }
}
