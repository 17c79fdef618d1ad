import Communication
import Tensors

/// Sums whose bits do not know the number of ranks: gradients lane by lane, doubles slot by slot.
let exactChecks: [Check] = [
  Check("reduction has the bits of one sum in lane order") { communicator in
    for lanes in 1...12 { try checkReduction(communicator, lanes: lanes) }
  },
  Check("reduction with a hook") { communicator in
    for lanes in [1, 3, 4, 7] {
      try checkReduction(communicator, lanes: lanes) { lane, value in (value > 64 ? Float(lane!) : value) / 3 }
    }
  },
  Check("reduction has the same bits whatever is in flight") { communicator in
    for depth in 0...3 { try checkReduction(communicator, lanes: 5, depth: depth) }
  },
  Check("several passes continue one sum") { communicator in
    // Two passes (two formats of one step) over the same lanes: only the first contribution overwrites.
    let schedule = LaneSchedule(lanes: 5, ranks: communicator.size)
    let reduction = try Reduction(communicator, lanes: 5, options: .init(.exact))
    let unit = reduction.units[0]
    for pass in 0..<2 {
      try reduction.run(schedule, continuing: pass > 0) { lane in
        roughFloats(unit.elementCount, stream: UInt64(pass * 100 + lane))
      }
    }
    var expected = roughFloats(unit.elementCount, stream: 0)
    for pass in 0..<2 {
      for lane in 0..<5 where (pass, lane) != (0, 0) {
        let next = roughFloats(unit.elementCount, stream: UInt64(pass * 100 + lane))
        for index in expected.indices { expected[index] += next[index] }
      }
    }
    try requireEqual(reduction.sums.values(ofUnit: 0).bits, shard(expected.bits, of: unit, rank: communicator.rank))
  },
  Check("ordered sums have the bits of one loop") { communicator in
    let arena = Arena("test")
    let unit = RowShards(awkwardUnit, ranks: communicator.size)
    let values = roughFloats(unit.rowCount + 3, stream: 8).map { Double($0) * 1.1 }
    let sum = OrderedSum(slots: unit.rowCount + 3, on: communicator, in: arena)
    try requireEqual(sum.slotCount, values.count)
    var perRow: [Double] = []
    for run in unit.runs(ofRank: communicator.rank) {
      perRow += values[3 + run.firstRow..<3 + run.firstRow + run.rows.count]
    }
    let mine = buffer(perRow, in: arena)
    for _ in 0..<2 {  // the second sum starts from empty slots
      for slot in 0..<3 where slot % communicator.size == communicator.rank { sum.place(values[slot], at: slot) }
      sum.place(mine, of: unit, at: 3)
      try requireEqual(try sum.total().bitPattern, values.reduce(0.0, +).bitPattern)
    }
    try requireEqual(try sum.total(), 0)
  },
]

extension Reduction {
  /// All rounds of a schedule, `gradient` of every lane of this rank.
  func run(_ schedule: LaneSchedule, continuing: Bool = false, _ gradient: (_ lane: Int) -> [Float]) throws {
    for round in 0..<schedule.roundCount {
      let lanes = schedule.lanes(inRound: round)
      try start(
        schedule.lane(ofRank: rank, inRound: round).map(gradient), contributors: lanes.count,
        firstLane: lanes.lowerBound, overwrite: round == 0 && !continuing, number: round)
      for _ in 0..<(rank + round) % 3 { try reducer.poll() }
    }
    try reducer.drain()
  }
}

private func checkReduction(
  _ communicator: Communicator, lanes: Int, depth: Int = 2,
  hook: (@Sendable (_ lane: Int?, _ value: Float) -> Float)? = nil
) throws {
  let schedule = LaneSchedule(lanes: lanes, ranks: communicator.size)
  let reduction = try Reduction(communicator, lanes: lanes, options: .init(.exact, depth: depth))
  let unit = reduction.units[0]
  reduction.sums.hook = hook
  func gradient(_ lane: Int) -> [Float] { roughFloats(unit.elementCount, stream: UInt64(1000 + lane)) }
  try reduction.run(schedule, gradient)

  var expected: [Float] = []
  for lane in 0..<lanes {
    var contribution = gradient(lane)
    for index in contribution.indices {
      if let hook { contribution[index] = hook(lane, contribution[index]) }
      if lane > 0 { contribution[index] = expected[index] + contribution[index] }
    }
    expected = contribution
  }
  try requireEqual(reduction.sums.seen.map(\.lane), Array(0..<lanes))
  try requireEqual(reduction.sums.values(ofUnit: 0).bits, shard(expected.bits, of: unit, rank: communicator.rank))
}
