import Communication
import Tensors

/// The collectives themselves.
let collectiveChecks: [Check] = [
  Check("ranks and sizes") { communicator in
    try require((0..<communicator.size).contains(communicator.rank), "rank \(communicator.rank)")
    try requireEqual(communicator.isRoot, communicator.rank == 0)
    let mine = Int64(1) << Int64(communicator.rank)
    try requireEqual(try communicator.sum(mine), Int64(1) << Int64(communicator.size) - 1)
    try communicator.barrier()
  },
  Check("broadcast from every root") { communicator in
    let arena = Arena("test")
    for root in 0..<communicator.size {
      for count in [0, 1, 5, 1000] {
        var values = HostBuffer<Int32>(count: count, in: arena)
        if communicator.rank == root { for index in 0..<count { values[index] = Int32(root * 1000 + index) } }
        try communicator.broadcast(&values, from: root)
        try requireEqual(array(values), (0..<count).map { Int32(root * 1000 + $0) })
      }
      var weights = tensor(communicator.rank == root ? roughFloats(77, stream: 1) : .init(repeating: 0, count: 77), in: arena)
      try communicator.broadcast(&weights, from: root)
      try requireEqual(bits(weights), roughFloats(77, stream: 1).map(\.bitPattern))
      try requireEqual(try communicator.broadcast(Int64(communicator.rank) - 7, from: root), Int64(root) - 7)
      let text = Array("configuration of rank \(communicator.rank)".utf8)
      try requireEqual(try communicator.broadcast(text, from: root), Array("configuration of rank \(root)".utf8))
    }
  },
  Check("all-gather of uneven and empty segments") { communicator in try checkAllGather(communicator) },
  Check("integer and disjoint reductions") { communicator in try checkReductions(communicator) },
  Check("transfers cut into chunks give the same bytes") { communicator in
    guard communicator.carrier == .mpi else { return }  // only MPI cuts
    let limit = Communicator.mpiChunkLimit
    defer { Communicator.mpiChunkLimit = limit }
    for bytes in [8, 37, 1000] {
      Communicator.mpiChunkLimit = bytes
      try requireEqual(Communicator.mpiChunkLimit, bytes)
      try checkAllGather(communicator)
      try checkReductions(communicator)
      let text = [UInt8](repeating: 9, count: 500 * (communicator.rank + 1))
      try requireEqual(try communicator.broadcast(text), .init(repeating: 9, count: 500))
      let gathered = try communicator.gatherStrings(String(repeating: "é", count: 300 + communicator.rank))
      try requireEqual(gathered.map(\.count), communicator.isRoot ? (0..<communicator.size).map { 300 + $0 } : [])
    }
  },
  Check("strings reach the root in rank order") { communicator in
    let text = communicator.rank == 1 ? "" : "rank \(communicator.rank): schön"
    let gathered = try communicator.gatherStrings(text)
    let expected = (0..<communicator.size).map { $0 == 1 ? "" : "rank \($0): schön" }
    try requireEqual(gathered, communicator.isRoot ? expected : [])
  },
  Check("agreement names the ranks that differ") { communicator in
    try communicator.requireEqual([1, 2, 3], what: "configuration")
    try communicator.requireEqual([], what: "nothing")
    guard communicator.size > 1 else { return }
    let last = communicator.size - 1
    do {
      try communicator.requireEqual(communicator.rank == last ? [1, 2, 3, 4] : [1, 2, 3], what: "configuration")
      throw CheckFailure(description: "rank \(communicator.rank) accepted different configurations")
    } catch let error as CommunicationError {
      try require(error.description.contains("configuration differs on rank \(last) (4 bytes; 3"), error.description)
    }
    guard communicator.size > 2 else { return }
    do {  // the majority decides, not rank 0
      try communicator.requireEqual(communicator.rank == 0 ? [9] : [8], what: "seed")
      throw CheckFailure(description: "rank \(communicator.rank) accepted different seeds")
    } catch let error as CommunicationError {
      try require(error.description.contains("seed differs on rank 0 ("), error.description)
    }
  },
  Check("parts of the job are the ranks of a node, and those with the same place on every node") { communicator in
    guard let topology = communicator.topology else { throw CheckFailure(description: "no topology") }
    let map = topology.map, here = map.ranks(onNode: map.nodes[communicator.rank])
    try requireEqual(map.rankCount, communicator.size)
    try requireEqual([topology.node, topology.place], [map.nodes[communicator.rank], map.locals[communicator.rank]])
    try requireEqual([topology.local.rank, topology.local.size], [topology.place, here.count])
    let mine = Int64(1) << Int64(communicator.rank)
    try requireEqual(try topology.local.sum(mine), here.reduce(0) { $0 | 1 << Int64($1) })
    try require((topology.cross != nil) == map.isEven, "\(map.description)")
    try requireEqual(communicator.nodeDescription, map.description)
    guard let cross = topology.cross else { return }
    try requireEqual([cross.rank, cross.size], [topology.node, map.nodeCount])
    try requireEqual(topology.hasTwoLevels, map.nodeCount > 1 && map.sizes[0] > 1)
    let across = (0..<map.nodeCount).map { map.ranks(onNode: $0)[topology.place] }
    try requireEqual(try cross.sum(mine), across.reduce(0) { $0 | 1 << Int64($1) })
  },
  Check("statistics count what other ranks receive") { communicator in
    let arena = Arena("test")
    let others = communicator.size - 1
    let before = communicator.statistics
    let own = HostBuffer<UInt8>(count: 10, in: arena)
    var all = HostBuffer<UInt8>(count: 10 * communicator.size, in: arena)
    let counts = buffer([Int64](repeating: 10, count: communicator.size), in: arena)
    try communicator.allGather(own, into: &all, counts: counts, as: .weights)
    try communicator.allGather(own, into: &all, counts: counts, as: .gradients)
    let step = communicator.statistics.since(before)
    try requireEqual(step.weights.bytesSent, 10 * others)
    try requireEqual(step.gradients.bytesSent, 10 * others)
    try requireEqual([step.weights.calls, step.gradients.calls], [1, 1])
    try requireEqual(step.bytesSent, 20 * others + step.control.bytesSent)
    try require(step.seconds >= 0, "\(step.seconds) seconds")
  },
]

private func element(from: Int, _ index: Int) -> UInt16 {
  UInt16(truncatingIfNeeded: from * 4001 + index * 7 + 1)
}

private func checkAllGather(_ communicator: Communicator) throws {
  let arena = Arena("test")
  for scale in [0, 1, 13, 400] {
    let lengths = (0..<communicator.size).map { ($0 * 3 + 1) % 4 * scale }
    let own = buffer((0..<lengths[communicator.rank]).map { element(from: communicator.rank, $0) }, in: arena)
    var all = HostBuffer<UInt16>(count: lengths.reduce(0, +), in: arena)
    let counts = buffer(lengths.map(Int64.init), in: arena)
    try communicator.allGather(own, into: &all, counts: counts)
    let expected = lengths.enumerated().flatMap { rank, length in (0..<length).map { element(from: rank, $0) } }
    try requireEqual(array(all), expected)
  }
}

private func checkReductions(_ communicator: Communicator) throws {
  let arena = Arena("test")
  let (rank, size) = (communicator.rank, communicator.size)
  try requireEqual(try communicator.sum(Int64.max / 8 - Int64(rank)),
    Int64(size) * (Int64.max / 8) - Int64(size * (size - 1) / 2))
  try requireEqual(try communicator.maximum(Int64(rank) * 3 - 5), Int64(size - 1) * 3 - 5)
  try requireEqual(try communicator.minimum(Int64(rank) * 3 - 5), -5)
  for raised in 0..<size { try require(try communicator.agree(on: rank == raised), "flag of rank \(raised)") }
  try require(try !communicator.agree(on: false), "a flag nobody raised")

  var counts = buffer((0..<50).map { Int64($0 * (rank + 1)) }, in: arena)
  try communicator.sum(&counts)
  try requireEqual(array(counts), (0..<50).map { Int64($0 * size * (size + 1) / 2) })

  // Values whose sum would round: exact because each slot has one owner.
  let values = (0..<203).map { Double($0) * 0.1 + 1e-17 }
  var slots = buffer(values.indices.map { $0 % size == rank ? values[$0] : 0 }, in: arena)
  try communicator.sumDisjoint(&slots)
  try requireEqual(array(slots).map(\.bitPattern), values.map(\.bitPattern))
}
