import Communication
import Formats
import Kernels
import Tensors

/// A weight rounded by all ranks together: tiles of its rows are cut without regard to the number of ranks, each rank solves
/// some, and everyone gets all codes.
struct SharedRounding {
  let communicator: Communicator

  /// Codes and scales of a whole weight.
  final class Rounded {
    var packed: PackedTensor
    init(_ format: MXFormat, rows: Int, columns: Int) {
      packed = PackedTensor(format, rows: rows, columns: columns, in: Arena("codes"))
    }
  }

  /// Blocks that saturate earlier, from a row on.
  struct Clip {
    let rule: AWQClip
    let firstRow: Int
  }

  /// Rounds `weight` (N, K) and leaves the rounded values in it. Collective.
  ///
  /// - Parameters:
  ///   - gram: of the input; nil where nothing was looked at, which only rounding to nearest can do with.
  func round(
    _ weight: inout Tensor, name: String, plan: RoundingPlan, gram: Gram?, magR: MagR?, clip: Clip?
  ) throws -> (rounded: Rounded, figures: ProductFigures) {
    let N = weight.rows, K = weight.columns
    var figures = ProductFigures(name: name, format: plan.format)
    let tiles = tiles(of: N)
    let scratch = Arena("rounding")
    var original = Tensor(rows: N, columns: K, in: scratch)
    original.copy(from: weight)
    if let magR, let gram { try reduce(&weight, magR, gram, &figures, in: scratch) }
    if let clip { try self.clip(&weight, clip) }

    let (rounded, report) = try solve(weight, name: name, plan: plan, gram: gram)
    if gram != nil && plan.method != .nearest { figures.damping = report.damping }
    figures.dampingRaises = report.raises.map(\.description)
    figures.deadChannels = report.deadColumns.count
    BlockCodec.dequantize(&weight, from: rounded.packed)
    try measure(original, rounded, gram, tiles, &figures)
    return (rounded, figures)
  }

  /// Codes of a weight, and nothing else. Collective.
  func solve(
    _ weight: borrowing Tensor, name: String, plan: RoundingPlan, gram: Gram?
  ) throws -> (rounded: Rounded, report: FactorReport) {
    let N = weight.rows, K = weight.columns, rounded = Rounded(plan.format, rows: N, columns: K)
    let values = weight.rows(0..<N), tiles = tiles(of: N)
    let report = try communicator.onEveryRank {
      let solver = try RoundingSolver(plan, columns: K, gram: gram, name: name)
      try solver.solve(values, tiles: tiles, into: &rounded.packed)
      return solver.report
    }
    try gather(rounded, rows: N, columns: K)
    return (rounded, report)
  }

  /// Errors of what was rounded, and of rounding to nearest instead.
  private func measure(
    _ weight: borrowing Tensor, _ rounded: Rounded, _ gram: Gram?, _ tiles: Range<Int>, _ figures: inout ProductFigures
  ) throws {
    guard let gram else {
      figures.weightError = try sum(Self.weightErrors(weight, rounded, tiles), tiles, of: weight.rows).relativeWeight
      return
    }
    let error = LayerError(gram)
    let errors = try sum(error.sums(of: weight, rounded: rounded.packed, tiles: tiles), tiles, of: weight.rows)
    figures.weightError = errors.relativeWeight
    figures.outputError = errors.relativeOutput
    let nearest = Rounded(rounded.packed.format, rows: weight.rows, columns: weight.columns)
    BlockCodec.quantize(&nearest.packed, from: weight)
    figures.nearestError = try sum(
      error.sums(of: weight, rounded: nearest.packed, tiles: tiles), tiles, of: weight.rows).relativeOutput
  }

  /// Of the weights alone, where no text was looked at.
  private static func weightErrors(
    _ weight: borrowing Tensor, _ rounded: Rounded, _ tiles: Range<Int>
  ) -> [LayerErrorSums] {
    var values = Tensor(rows: weight.rows, columns: weight.columns, in: Arena("rounded weight"))
    BlockCodec.dequantize(&values, from: rounded.packed)
    return tiles.map { tile in
      let rows = RoundingSolver.rows(ofTile: tile, of: weight.rows), own = weight.rows(rows)
      var sums = LayerErrorSums()
      sums.weight = own.squaredDistance(to: values.rows(rows))
      sums.weightReference = own.squaredNorm
      return sums
    }
  }

  // MARK: Before rounding

  /// W += (Σ e x̂ᵀ) (Σ x̂ x̂ᵀ + λI)⁻¹. Collective.
  ///
  /// - Parameter cross: Σ e x̂ᵀ (N, K); used up.
  func correct(
    _ weight: inout Tensor, by cross: inout HostBuffer<Double>, gram: Gram, damping: Double, name: String
  ) throws -> [DampingRaise] {
    let tiles = tiles(of: weight.rows), N = weight.rows, K = weight.columns
    let raises = try communicator.onEveryRank {
      try UpstreamCorrection.solve(&cross, rows: N, gram: gram, damping: damping, tiles: tiles, name: name)
    }
    do {
      var values = weight.mutableSpan
      let first = min(N, tiles.lowerBound * RoundingSolver.tileRows), last = min(N, tiles.upperBound * RoundingSolver.tileRows)
      for i in first * K..<last * K { values[i] = Float(Double(values[i]) + cross[i]) }
    }
    try gather(&weight)
    return raises
  }

  private func reduce(
    _ weight: inout Tensor, _ magR: MagR, _ gram: Gram, _ figures: inout ProductFigures, in arena: Arena
  ) throws {
    let tiles = tiles(of: weight.rows)
    let own = magR.reduce(&weight, inputs: MagR.Inputs(gram, in: arena), tiles: tiles)
    try gather(&weight)
    let count = MagR.tileCount(rows: weight.rows), sums = OrderedSum(slots: 4 * count, on: communicator, in: arena)
    for (i, report) in own.enumerated() {
      let at = 4 * (tiles.lowerBound + i)
      sums.place(report.maximaBefore, at: at)
      sums.place(report.maximaAfter, at: at + 1)
      sums.place(report.outputEnergy, at: at + 2)
      sums.place(report.outputChange, at: at + 3)
    }
    let all = try sums.slotsOfAllRanks()
    var total = MagR.Report()
    for tile in 0..<count {
      total.maximaBefore += all[4 * tile]
      total.maximaAfter += all[4 * tile + 1]
      total.outputEnergy += all[4 * tile + 2]
      total.outputChange += all[4 * tile + 3]
    }
    figures.maximaReduction = total.reduction
    figures.reductionError = total.relativeChange
  }

  /// Blocks for which a smaller scale serves better are cut to what it can hold.
  private func clip(_ weight: inout Tensor, _ clip: Clip) throws {
    for tile in tiles(of: weight.rows) {
      for row in RoundingSolver.rows(ofTile: tile, of: weight.rows) where row >= clip.firstRow {
        var values = weight.rows(row..<row + 1)
        clip.rule.saturate(&values)
      }
    }
    try gather(&weight)
  }

  // MARK: Tiles

  /// This rank's share of the tiles.
  private func tiles(of rows: Int) -> Range<Int> { Self.tiles(ofRank: communicator.rank, of: communicator.size, rows: rows) }

  private static func tiles(ofRank rank: Int, of ranks: Int, rows: Int) -> Range<Int> {
    let count = RoundingSolver.tileCount(rows: rows)
    return rank * count / ranks..<(rank + 1) * count / ranks
  }

  /// Elements of every rank's rows.
  private func counts(rows: Int, width: Int) -> HostBuffer<Int64> {
    var counts = HostBuffer<Int64>(count: communicator.size, in: Arena("counts"))
    for rank in 0..<communicator.size {
      let tiles = Self.tiles(ofRank: rank, of: communicator.size, rows: rows)
      let first = min(rows, tiles.lowerBound * RoundingSolver.tileRows)
      counts[rank] = Int64((min(rows, tiles.upperBound * RoundingSolver.tileRows) - first) * width)
    }
    return counts
  }

  private func gather(_ rounded: Rounded, rows: Int, columns: Int) throws {
    try communicator.allGather(inPlace: &rounded.packed.codes, counts: counts(rows: rows, width: columns), as: .weights)
    try communicator.allGather(
      inPlace: &rounded.packed.scales, counts: counts(rows: rows, width: PackedTensor.blockCount(columns)), as: .weights)
  }

  private func gather(_ weight: inout Tensor) throws {
    try communicator.allGather(inPlace: &weight, counts: counts(rows: weight.rows, width: weight.columns), as: .weights)
  }

  /// Sums of all tiles in their order, whoever has them.
  private func sum(_ own: [LayerErrorSums], _ tiles: Range<Int>, of rows: Int) throws -> LayerErrorSums {
    let count = RoundingSolver.tileCount(rows: rows)
    let slots = OrderedSum(slots: 4 * count, on: communicator, in: Arena("errors"))
    for (tile, sums) in zip(tiles, own) {
      slots.place(sums.output, at: 4 * tile)
      slots.place(sums.outputReference, at: 4 * tile + 1)
      slots.place(sums.weight, at: 4 * tile + 2)
      slots.place(sums.weightReference, at: 4 * tile + 3)
    }
    let all = try slots.slotsOfAllRanks()
    var total = LayerErrorSums()
    for tile in 0..<count {
      total.output += all[4 * tile]
      total.outputReference += all[4 * tile + 1]
      total.weight += all[4 * tile + 2]
      total.weightReference += all[4 * tile + 3]
    }
    return total
  }
}
