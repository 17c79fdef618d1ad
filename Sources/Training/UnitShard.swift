import Communication
import Kernels
import Tensors
import Transformer

/// What one rank owns of one unit: fp32 masters, AdamW's moments and the summed gradient of its rows, laid out alike.
final class UnitShard {
  let layout: UnitLayout
  let shards: RowShards
  /// This rank's rows, parameter after parameter; `run.matrix` is the index into `layout.parameters`.
  let runs: [RowShards.Run]
  /// The unit's first row when the rows of all units are numbered through.
  let firstRow: Int

  var master: Tensor  // (1, owned elements), like the three below
  var firstMoment: Tensor
  var secondMoment: Tensor
  var gradient: Tensor
  var rowSums: HostBuffer<Double>  // (owned rows)

  init(_ layout: UnitLayout, rank: Int, ranks: Int, firstRow: Int, in arena: Arena) {
    self.layout = layout
    self.firstRow = firstRow
    shards = RowShards(layout.parameters.map { .init(rows: $0.rows, columns: $0.columns) }, ranks: ranks)
    runs = shards.runs(ofRank: rank)
    let owned = shards.elementCount(ofRank: rank)
    master = Tensor(rows: 1, columns: owned, in: arena)
    firstMoment = Tensor(rows: 1, columns: owned, in: arena)
    secondMoment = Tensor(rows: 1, columns: owned, in: arena)
    gradient = Tensor(rows: 1, columns: owned, in: arena)
    rowSums = HostBuffer(count: shards.rowCount(ofRank: rank), in: arena)
  }

  /// Per owned row, the sum of its gradient's squares.
  func sumSquares() {
    for run in runs {
      GradientNorm.rowSums(
        of: gradient, at: run.shardOffset, rows: run.rows.count, columns: run.columns, into: &rowSums, at: run.shardRow)
    }
  }

  /// AdamW on every owned row; matrices decay, vectors do not.
  func update(_ optimizer: AdamW) {
    for run in runs {
      optimizer.update(
        master: &master, m: &firstMoment, v: &secondMoment, gradient: gradient,
        range: run.shardOffset..<run.shardOffset + run.elementCount, decays: layout.parameters[run.matrix].decays)
    }
  }
}

/// All units of one rank.
final class ShardedState {
  let units: [UnitShard]
  let rowCount: Int

  init(_ layout: ParameterLayout, rank: Int, ranks: Int, in arena: Arena) {
    var units: [UnitShard] = []
    var row = 0
    for unit in layout.units {
      let shard = UnitShard(unit, rank: rank, ranks: ranks, firstRow: row, in: arena)
      row += shard.shards.rowCount
      units.append(shard)
    }
    self.units = units
    rowCount = row
  }

  /// Fills the masters of this rank's rows from a model on disk.
  func load(from source: any ModelSource) throws {
    try fillMasters { spec, rows, values in try source.read(spec, rows: rows, into: &values) }
  }

  /// Fills them with a new model's starting values.
  func initialize(_ initialization: Initialization) {
    fillMasters { spec, rows, values in initialization.fill(&values, at: 0, rows: rows, of: spec) }
  }

  private func fillMasters(
    _ fill: (ParameterSpec, Range<Int>, inout MutableSpan<Float>) throws -> Void
  ) rethrows {
    for unit in units {
      for run in unit.runs {
        var region = unit.master.region(run.shardOffset, rows: run.rows.count, columns: run.columns)
        var values = region.mutableSpan
        try fill(unit.layout.parameters[run.matrix], run.rows, &values)
      }
    }
  }
}
