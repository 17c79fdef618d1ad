import Communication
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
    let values = roughFloats(unit.elementCount, stream: 6)
    var codes: [UInt8] = [], scales: [UInt8] = []
    for run in unit.runs(ofRank: communicator.rank) {
      encode(values[run.fullOffset..<run.fullOffset + run.elementCount], columns: run.columns, &codes, &scales)
    }
    var allCodes: [UInt8] = [], allScales: [UInt8] = []
    var offset = 0
    for matrix in unit.matrices {
      encode(values[offset..<offset + matrix.elementCount], columns: matrix.columns, &allCodes, &allScales)
      offset += matrix.elementCount
    }
    let ownCodes = buffer(codes, in: arena)
    let ownScales = buffer(scales, in: arena)
    var gatheredCodes = HostBuffer<UInt8>(count: unit.elementCount, in: arena)
    var gatheredScales = HostBuffer<UInt8>(count: unit.scaleCount, in: arena)
    try gather.gatherPacked(
      codes: ownCodes, scales: ownScales, of: unit, intoCodes: &gatheredCodes, scales: &gatheredScales)
    try requireEqual(array(gatheredCodes), allCodes)
    try requireEqual(array(gatheredScales), allScales)
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

/// A block encoder of the kind the wire carries: per 32 elements of a row one power-of-two scale, 8-bit integer codes.
private func encode(_ values: ArraySlice<Float>, columns: Int, _ codes: inout [UInt8], _ scales: inout [UInt8]) {
  var row = values.startIndex
  while columns > 0 && row < values.endIndex {
    for first in stride(from: row, to: row + columns, by: 32) {
      let block = values[first..<min(first + 32, row + columns)]
      let largest = block.map(\.magnitude).max()!
      let exponent = largest == 0 ? -127 : Int(largest.exponent)
      scales.append(UInt8(exponent + 127))
      let unit = Float(sign: .plus, exponent: exponent - 6, significand: 1)
      codes += block.map { UInt8(bitPattern: Int8(max(-127, min(127, ($0 / unit).rounded(.toNearestOrEven))))) }
    }
    row += columns
  }
}
