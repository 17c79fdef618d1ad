import Communication
import Tensors

/// Sums of gradients on wires that round: how near, in which order, of whom, the same again.
let wireChecks: [Check] = [
  Check("sums on every wire are as near as its codes") { communicator in
    for wire in wires(of: communicator) {
      for isStochastic in [false, true] {
        let reduction = try Reduction(communicator, wireUnits, options: .init(wire, isStochastic: isStochastic))
        for unit in wireUnits.indices {
          let workers = (0..<communicator.size).map { gradient($0, unit, in: reduction) }
          let found = try reduction.sum(workers[communicator.rank], unit: unit)
          try reduction.require(found, near: workers, unit: unit, wire, isStochastic: isStochastic)
        }
      }
    }
  },
  Check("ranks without a gradient add nothing") { communicator in
    for wire in wires(of: communicator) {
      let reduction = try Reduction(communicator, wireUnits, options: .init(wire))
      for contributors in 1...communicator.size {
        let workers = (0..<contributors).map { gradient($0, 0, in: reduction) }
        let own = communicator.rank < contributors ? workers[communicator.rank] : nil
        let found = try reduction.sum(own, contributors: contributors, step: contributors)
        try reduction.require(found, near: workers, unit: 0, wire, isStochastic: true)
      }
    }
  },
  Check("the same gradients give the same bits, whatever is in flight and polled") { communicator in
    for wire in wires(of: communicator) {
      var first: [[UInt32]] = []
      for depth in 0...3 {
        let reduction = try Reduction(communicator, wireUnits, options: .init(wire, seed: 8, depth: depth))
        for unit in wireUnits.indices {
          try reduction.start(gradient(communicator.rank, unit, in: reduction), unit: unit, step: 4, number: unit)
          for _ in 0..<(communicator.rank * 3 + depth + unit) % 5 { try reduction.reducer.poll() }
        }
        try reduction.reducer.drain()
        let found = wireUnits.indices.map { reduction.sums.values(ofUnit: $0).bits }
        if depth == 0 { first = found } else { try requireSameBits(found, first, "\(wire), depth \(depth)") }
      }
    }
  },
  Check("units arrive in the order in which they started") { communicator in
    // More of them than fit in flight, and more than one round of each.
    for wire in wires(of: communicator) {
      let reduction = try Reduction(communicator, wireUnits, options: .init(wire, depth: 3))
      let order = [2, 0, 1, 1, 0, 2, 2]
      var rounds = [0, 0, 0]
      for (turn, unit) in order.enumerated() {
        try reduction.start(
          gradient(communicator.rank, unit, in: reduction), unit: unit, overwrite: rounds[unit] == 0,
          number: rounds[unit])
        rounds[unit] += 1
        for _ in 0..<(communicator.rank + turn) % 4 { try reduction.reducer.poll() }
      }
      try reduction.reducer.drain()
      try requireEqual(reduction.sums.seen.map(\.unit), order)
      for unit in wireUnits.indices {
        let round = (0..<communicator.size).map { gradient($0, unit, in: reduction) }
        let workers = Array(repeating: round, count: rounds[unit]).flatMap { $0 }
        try reduction.require(
          reduction.sums.values(ofUnit: unit), near: workers, unit: unit, wire, isStochastic: true)
      }
    }
  },
  Check("a gradient that is not finite on one rank reaches its owner on every wire") { communicator in
    // C12: owners see it in the sum, and all ranks decide by what owners see.
    for wire in wires(of: communicator) + [.exact] {
      let reduction = try Reduction(communicator, wireUnits, options: .init(wire))
      let unit = reduction.units[0]
      for sick in 0..<communicator.size {
        for (turn, value) in [Float.nan, .infinity, -.infinity].enumerated() {
          let place = (sick * 977 + turn * 311 + 40) % unit.elementCount
          var own = gradient(communicator.rank, 0, in: reduction)
          if communicator.rank == sick { own[place] = value }
          let found = try reduction.sum(own, step: turn)
          try requireEqual(try communicator.agree(on: found.contains { !$0.isFinite }), true)
          // The owner has it where it was, and nothing outside the tensor's rows that share scales with it.
          var flags = [Bool](repeating: false, count: unit.elementCount)
          flags[place] = true
          let owned = shard(flags, of: unit, rank: communicator.rank)
          for run in unit.runs(ofRank: communicator.rank) {
            let range = run.shardOffset..<run.shardOffset + run.elementCount
            if let index = range.first(where: { owned[$0] }) {
              try require(!found[index].isFinite, "\(wire): \(value) of rank \(sick) arrives as \(found[index])")
            } else {
              try require(
                found[range].allSatisfy(\.isFinite), "\(wire): \(value) of rank \(sick) arrives in another run")
            }
          }
        }
      }
    }
  },
  Check("two levels on uneven nodes are refused by name") { communicator in
    guard let topology = communicator.topology, communicator.size > 1 else { return }
    do {
      _ = try Reduction(communicator, options: .init(.twoLevel))
      try require(topology.map.isEven, "two levels on \(topology.map.description)")
    } catch let error as CommunicationError {
      try require(!topology.map.isEven, error.description)
      for word in ["two_level", topology.map.description, "int8"] {
        try require(error.description.contains(word), "'\(error.description)' does not say '\(word)'")
      }
    }
  },
]

/// Rows that share no group, runs longer than a group, vectors, an empty matrix; more rows than ranks and fewer.
private let wireUnits: [[RowShards.Matrix]] = [
  awkwardUnit, [.init(rows: 64, columns: 96), .init(rows: 1, columns: 33)], [.init(rows: 40, columns: 128)],
]

private func wires(of communicator: Communicator) -> [GradientWire] {
  let isEven = communicator.topology?.map.isEven ?? false
  return [.fp32, .bf16, .int8] + (isEven ? [.twoLevel] : [])
}

private func gradient(_ worker: Int, _ unit: Int, in reduction: Reduction) -> [Float] {
  Samples(stream: 1000 + 10 * worker + unit).normal(reduction.units[unit].elementCount)
}

private func requireSameBits(_ found: [[UInt32]], _ first: [[UInt32]], _ what: String) throws {
  try require(found == first, "other bits: \(what)")
}

extension Reduction {
  /// Relative L2 error over all ranks against a bound that follows from the codec.
  ///
  /// Groups of 128 normal values have a largest magnitude of about 2.7, so a step of b-bit codes is
  /// 2.7 / (2^(b-1) - 1): its error is step / √12 to nearest, step / √6 by chance. 8 bits: 0.0062 and 0.0088; 4 bits: 0.12 and 0.16.
  fileprivate func require(
    _ found: [Float], near workers: [[Float]], unit: Int, _ wire: GradientWire, isStochastic: Bool
  ) throws {
    let expected = shard(exactSum(workers), of: units[unit], rank: rank)
    let error = try relativeError(found.map { Double($0) }, expected, communicator)
    let nodes = communicator.topology?.map.nodeCount ?? 1
    let bound =
      switch wire {
      case .exact, .fp32: 1e-6
      case .bf16: 0.002  // half of the last of 8 bits
      case .int8: isStochastic ? 0.011 : 0.008
      case .twoLevel where nodes == 1: isStochastic ? 0.011 : 0.008
      case .twoLevel: isStochastic ? 0.2 : 0.14
      }
    try CommunicationTests.require(
      error <= bound, "\(wire), unit \(unit), stochastic \(isStochastic): error \(error) above \(bound)")
  }
}
