import Communication
import Formats
import Kernels
import Tensors

/// Units on their way: gradients to their owners, rows to everybody, ordered sums.
let shardChecks: [Check] = [
  Check("reduction has the bits of one sum in lane order") { communicator in
    for lanes in 1...12 { try checkReduction(communicator, lanes: lanes) }
  },
  Check("reduction with weight and hook") { communicator in
    for lanes in [1, 3, 4, 7] {
      try checkReduction(communicator, lanes: lanes, weight: 1 / 3, hook: { lane, value in value > 64 ? Float(lane) : value })
    }
  },
  Check("several passes continue one sum") { communicator in
    // Two passes (two formats of one step) over the same lanes: only the first contribution overwrites.
    let unit = RowShards(awkwardUnit, ranks: communicator.size)
    let arena = Arena("test")
    let schedule = LaneSchedule(lanes: 5, ranks: communicator.size)
    let reducer = ExactReducer(communicator, schedule, staging: ShardStaging(for: [unit], in: arena))
    var sum = Tensor(rows: 1, columns: unit.elementCount(ofRank: communicator.rank), in: arena)
    for pass in 0..<2 {
      for round in 0..<schedule.roundCount {
        let lane = schedule.lane(ofRank: communicator.rank, inRound: round)
        var gradient = tensor(roughFloats(unit.elementCount, stream: UInt64(pass * 100 + (lane ?? 99))), in: arena)
        try reducer.reduce(&gradient, round: round, of: unit, into: &sum, overwrite: pass == 0 && round == 0)
      }
    }
    var expected = roughFloats(unit.elementCount, stream: 0)
    for pass in 0..<2 {
      for lane in 0..<5 where (pass, lane) != (0, 0) {
        let next = roughFloats(unit.elementCount, stream: UInt64(pass * 100 + lane))
        for index in expected.indices { expected[index] += next[index] }
      }
    }
    try requireEqual(bits(sum), shard(expected.map(\.bitPattern), of: unit, rank: communicator.rank))
  },
  Check("gathered rows are the owners' rows") { communicator in
    let arena = Arena("test")
    let unit = RowShards(awkwardUnit, ranks: communicator.size)
    let gather = ShardGather(communicator, staging: ShardStaging(for: [unit], in: arena))
    let values = roughFloats(unit.elementCount, stream: 5)
    let full = tensor(values, in: arena)
    var mine = Tensor(rows: 1, columns: unit.elementCount(ofRank: communicator.rank), in: arena)
    unit.copy(shardOf: communicator.rank, from: full, to: &mine)
    try requireEqual(bits(mine), shard(values.map(\.bitPattern), of: unit, rank: communicator.rank))
    var gathered = Tensor(rows: 1, columns: unit.elementCount, in: arena)
    for _ in 0..<2 { try gather.gatherRows(mine, of: unit, into: &gathered) }
    try requireEqual(bits(gathered), values.map(\.bitPattern))
  },
  Check("gather of encoded rows is the encoding of gathered rows") { communicator in
    let arena = Arena("test")
    let unit = RowShards(awkwardUnit, ranks: communicator.size)
    let gather = ShardGather(communicator, staging: ShardStaging(for: [unit], in: arena))
    let full = tensor(roughFloats(unit.elementCount, stream: 6), in: arena)
    for format in MXFormat.all {
      let mine = Planes(), whole = Planes()
      for run in unit.runs(ofRank: communicator.rank) {
        mine.encode(full.region(run.fullOffset, rows: run.rows.count, columns: run.columns), format, in: arena)
      }
      var offset = 0
      for matrix in unit.matrices {
        whole.encode(full.region(offset, rows: matrix.rows, columns: matrix.columns), format, in: arena)
        offset += matrix.elementCount
      }
      let codes = buffer(mine.codes, in: arena)
      let scales = buffer(mine.scales, in: arena)
      var gatheredCodes = HostBuffer<UInt8>(count: unit.elementCount, in: arena)
      var gatheredScales = HostBuffer<UInt8>(count: unit.scaleCount, in: arena)
      try gather.gatherPacked(
        codes: codes, scales: scales, of: unit, intoCodes: &gatheredCodes, scales: &gatheredScales)
      try requireEqual(array(gatheredCodes), whole.codes)
      try requireEqual(array(gatheredScales), whole.scales)
    }
  },
  Check("ordered sums have the bits of one loop") { communicator in
    let arena = Arena("test")
    let unit = RowShards(awkwardUnit, ranks: communicator.size)
    let values = roughFloats(unit.rowCount + 3, stream: 8).map { Double($0) * 1.1 }
    let sum = OrderedSum(slots: unit.rowCount + 3, on: communicator, in: arena)
    try requireEqual(sum.slotCount, values.count)
    var perRow: [Double] = []
    for run in unit.runs(ofRank: communicator.rank) { perRow += values[3 + run.firstRow..<3 + run.firstRow + run.rows.count] }
    let mine = buffer(perRow, in: arena)
    for _ in 0..<2 {  // the second sum starts from empty slots
      for slot in 0..<3 where slot % communicator.size == communicator.rank { sum.place(values[slot], at: slot) }
      sum.place(mine, of: unit, at: 3)
      try requireEqual(try sum.total().bitPattern, values.reduce(0.0, +).bitPattern)
    }
    try requireEqual(try sum.total(), 0)
  },
  Check("steps after the first lease no memory") { communicator in
    let arena = Arena("test")
    let unit = RowShards(awkwardUnit, ranks: communicator.size)
    let staging = ShardStaging(for: [unit], in: arena)
    let reducer = ExactReducer(communicator, LaneSchedule(lanes: 3, ranks: communicator.size), staging: staging)
    let gather = ShardGather(communicator, staging: staging)
    var gradient = Tensor(rows: 1, columns: unit.elementCount, in: arena)
    var sum = Tensor(rows: 1, columns: unit.elementCount(ofRank: communicator.rank), in: arena)
    let reserved = arena.reservedBytes
    for _ in 0..<3 {
      for round in 0..<reducer.schedule.roundCount {
        try reducer.reduce(&gradient, round: round, of: unit, into: &sum, overwrite: round == 0)
      }
      try gather.gatherRows(sum, of: unit, into: &gradient)
    }
    try requireEqual(arena.reservedBytes, reserved)
  },
]

/// A rank's rows of a unit in full layout, by the definition.
func shard<Element>(_ full: [Element], of unit: RowShards, rank: Int) -> [Element] {
  var rows: [Element] = []
  var offset = 0
  for matrix in unit.matrices {
    let owned = matrix.rows * rank / unit.ranks..<matrix.rows * (rank + 1) / unit.ranks
    rows += full[offset + owned.lowerBound * matrix.columns..<offset + owned.upperBound * matrix.columns]
    offset += matrix.elementCount
  }
  return rows
}

private func checkReduction(
  _ communicator: Communicator, lanes: Int, weight: Float = 1,
  hook: (@Sendable (_ lane: Int, _ value: Float) -> Float)? = nil
) throws {
  let arena = Arena("test")
  let unit = RowShards(awkwardUnit, ranks: communicator.size)
  let schedule = LaneSchedule(lanes: lanes, ranks: communicator.size)
  let reducer = ExactReducer(communicator, schedule, staging: ShardStaging(for: [unit], in: arena))
  var sum = tensor(.init(repeating: .nan, count: unit.elementCount(ofRank: communicator.rank)), in: arena)
  for round in 0..<schedule.roundCount {
    let lane = schedule.lane(ofRank: communicator.rank, inRound: round)
    // A rank without a lane passes whatever its buffer holds.
    let values = lane.map { roughFloats(unit.elementCount, stream: UInt64(1000 + $0)) }
    var gradient = tensor(values ?? .init(repeating: .nan, count: unit.elementCount), in: arena)
    if let hook {
      try reducer.reduce(&gradient, round: round, of: unit, into: &sum, overwrite: round == 0, weight: weight) {
        contribution, lane in
        var span = contribution.mutableSpan
        for index in 0..<span.count { span[index] = hook(lane, span[index]) }
      }
    } else {
      try reducer.reduce(&gradient, round: round, of: unit, into: &sum, overwrite: round == 0, weight: weight)
    }
  }
  var expected: [Float] = []
  for lane in 0..<lanes {
    var contribution = roughFloats(unit.elementCount, stream: UInt64(1000 + lane))
    for index in contribution.indices {
      if let hook { contribution[index] = hook(lane, contribution[index]) }
      if weight != 1 { contribution[index] *= weight }
      if lane > 0 { contribution[index] = expected[index] + contribution[index] }
    }
    expected = contribution
  }
  try requireEqual(bits(sum), shard(expected.map(\.bitPattern), of: unit, rank: communicator.rank))
}

/// Codes and scales of matrices, one after another.
private final class Planes {
  var codes: [UInt8] = []
  var scales: [UInt8] = []

  func encode(_ rows: borrowing Tensor, _ format: MXFormat, in arena: Arena) {
    var packed = PackedTensor(format, rows: rows.rows, columns: rows.columns, in: arena)
    BlockCodec.quantize(&packed, from: rows)
    codes += array(packed.codes)
    scales += array(packed.scales)
  }
}
