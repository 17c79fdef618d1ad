import Communication
import Tensors
import Testing

/// Bytes, messages and seconds before anything is sent: by hand, and beside what real exchanges count.
@Suite struct ForecastTests {
  // MARK: Links

  @Test func linkTakesLatencyForEveryMessageAndTimeForEveryByte() {
    let link = LinkModel(latency: 0.25, bytesPerSecond: 1024)
    #expect(link.seconds(messages: 3, bytes: 512) == 0.75 + 0.5)
    #expect(LinkModel(gigabitsPerSecond: 1).bytesPerSecond == 125e6)
  }

  @Test func linkIsFoundInItsTimes() throws {
    let sizes = [1, 64, 4096, 65536, 1 << 20, 16 << 20]
    let fit = try #require(LinkModel(fitting: sizes.map { ($0, 5e-5 + Double($0) / 125e6) }))
    #expect(abs(fit.bytesPerSecond / 125e6 - 1) < 1e-9)
    #expect(abs(fit.latency - (5e-5 + 8e-9)) < 1e-12)
    #expect(LinkModel(fitting: []) == nil)
    #expect(LinkModel(fitting: [(1, 1e-5), (1, 1e-5)]) == nil)
    #expect(LinkModel(fitting: [(1, 2.0), (100, 1.0)]) == nil)
  }

  // MARK: By hand

  /// 3 nodes of 2 ranks; 12 rows of 128 values, hence 256 values a rank: two groups of 128.
  private let even = NodeMap(sizes: [2, 2, 2])
  private let unit = RowShards([.init(rows: 12, columns: 128)], ranks: 6)

  private func hops(_ wire: GradientWire) -> [ForecastHop] {
    let forecast = CommunicationForecast(even, wire, reductions: [.init(unit, contributors: 6)], gathers: [])
    return forecast.gradients.operations[0].hops
  }

  @Test(arguments: [(GradientWire.exact, 1024), (.fp32, 1024), (.bf16, 512), (.int8, 2 * (128 + 4))])
  func flatReductionCrossesTheLinkOnceForEveryRank(_ wire: GradientWire, shard: Int) {
    let found = hops(wire)
    #expect(found.count == 1)
    // Two ranks of a node send to four owners elsewhere.
    #expect(found[0].outOfNode == 2 * 4 * shard)
    #expect(found[0].intoNode == 2 * 4 * shard)
    #expect(found[0].bytesBetweenNodes == 3 * 2 * 4 * shard)
    #expect(found[0].bytesWithinNodes == 6 * shard)
    #expect(found[0].widestRank == shard)
    #expect(found[0].messagesBetween == 4)
    #expect(found[0].messagesWithin == 1)
  }

  @Test func twoLevelsCrossTheLinkOnceForTheNode() {
    let found = hops(.twoLevel)
    #expect(found.count == 2)
    // To the other rank of the node: the rows of three owners, 8 bits.
    #expect(found[0].widestRank == 3 * 2 * (128 + 4))
    #expect(found[0].bytesBetweenNodes == 0)
    #expect(found[0].messagesBetween == 0)
    // (N - 1)/N n 4.25/8 = 2/3 * 1536 * 4.25 / 8
    #expect(found[1].outOfNode == 544)
    #expect(found[1].intoNode == 544)
    #expect(found[1].bytesBetweenNodes == 3 * 544)
    #expect(found[1].bytesWithinNodes == 0)
    #expect(found[1].messagesBetween == 2)
  }

  @Test func gatherGoesInTwoHopsOnEvenNodesOnly() {
    let gather = CommunicationForecast.Gather(unit, bits: 8)
    #expect(gather.bytes == Array(repeating: 256, count: 6))
    let two = CommunicationForecast(even, .exact, reductions: [], gathers: [gather]).weights.operations[0].hops
    // (N - 1)/N n bits/8 = 2/3 * 1536
    #expect(two.map(\.outOfNode) == [1024, 0])
    #expect(two.map(\.intoNode) == [1024, 0])
    #expect(two.map(\.widestRank) == [0, 768])
    #expect(two.map(\.messagesBetween) == [2, 0])

    let uneven = NodeMap(sizes: [4, 2])
    let flat = CommunicationForecast(uneven, .exact, reductions: [], gathers: [gather]).weights.operations[0].hops
    #expect(flat.count == 1)
    #expect(flat[0].outOfNode == 4 * 256 * 2)
    #expect(flat[0].intoNode == 4 * 256 * 2)
    #expect(flat[0].bytesBetweenNodes == 2 * 4 * 256 * 2)
    #expect(flat[0].messagesBetween == 4)
  }

  @Test func secondsAreThoseOfTheSlowestPart() {
    let links = LinkModels(
      within: LinkModel(latency: 1e-6, bytesPerSecond: 1e9), between: LinkModel(latency: 1e-4, bytesPerSecond: 1e6))
    let found = hops(.twoLevel)
    #expect(found[0].seconds(on: links) == 1e-6 + Double(3 * 2 * (128 + 4)) / 1e9)
    #expect(found[1].seconds(on: links) == 2e-4 + 544e-6)
    #expect(hops(.fp32)[0].seconds(on: links) == 4e-4 + 8192e-6)
  }

  @Test func sumGoesAroundTheRing() {
    let forecast = CommunicationForecast(even, .exact, reductions: [], gathers: [], summed: [600])
    let found = forecast.control.operations[0].hops[0]
    // 2 (p - 1)/p of 600 bytes leave every node.
    #expect(found.outOfNode == 1000)
    #expect(found.messagesBetween == 10)
  }

  @Test func oneRankSendsNothing() {
    let alone = RowShards([.init(rows: 12, columns: 128)], ranks: 1)
    let forecast = CommunicationForecast(
      NodeMap(sizes: [1]), .twoLevel, reductions: [.init(alone, contributors: 1)], gathers: [.init(alone, bits: 8.25)],
      summed: [8])
    let links = LinkModels(within: LinkModel(gigabitsPerSecond: 1), between: LinkModel(gigabitsPerSecond: 1))
    #expect(forecast.bytesBetweenNodes == 0)
    #expect(forecast.communicationSeconds(on: links) == 0)
  }

  /// No latency and 1000 bytes a second: a gather of 1536 bytes takes 1.024 s, a reduction in two levels 0.544 s.
  @Test func overlapHidesAllButTheEnds() {
    let quick = LinkModel(latency: 0, bytesPerSecond: 1e12)
    let links = LinkModels(within: quick, between: LinkModel(latency: 0, bytesPerSecond: 1000))
    let gather = CommunicationForecast.Gather(unit, bits: 8)
    let forecast = CommunicationForecast(
      even, .twoLevel, reductions: Array(repeating: .init(unit, contributors: 6), count: 3),
      gathers: Array(repeating: gather, count: 3))
    func isNear(_ found: Double, _ expected: Double) -> Bool { abs(found - expected) < 1e-6 }
    let all = 3 * 1.024 + 3 * 0.544
    #expect(isNear(forecast.communicationSeconds(on: links), all))
    #expect(isNear(forecast.exposedSeconds(compute: 9, on: links, overlap: false), all))
    // Long computation leaves the first gather and the last reduction; none leaves everything.
    #expect(isNear(forecast.exposedSeconds(compute: 90, on: links, overlap: true), 1.024 + 0.544))
    #expect(isNear(forecast.exposedSeconds(compute: 0, on: links, overlap: true), all))
    // Half a second each of forward and backward is too short for 2.048 and 1.088 s.
    let some = 1.024 + (2.048 - 0.5) + (1.088 - 0.5) + 0.544
    #expect(isNear(forecast.exposedSeconds(compute: 1, on: links, overlap: true, backwardShare: 0.5), some))
    #expect(isNear(forecast.stepSeconds(compute: 1, on: links, overlap: true, backwardShare: 0.5), 1 + some))

    let again = CommunicationForecast(
      even, .twoLevel, reductions: [], gathers: [gather, .init(unit, bits: 8, isInBackward: true)])
    #expect(isNear(again.weightsOfBackward.seconds(on: links), 1.024))
    #expect(isNear(again.exposedSeconds(compute: 9, on: links, overlap: true), 1.024))
  }

  // MARK: Counted

  /// Nodes even and uneven, one rank each, and ranks that do not lie one after another.
  private static let maps = [
    NodeMap(sizes: [4]), NodeMap(sizes: [2, 2]), NodeMap(sizes: [1, 1, 1]), NodeMap(sizes: [3, 1]),
    NodeMap(sizes: [2, 2, 2]), NodeMap(labels: [0, 1, 1, 0, 2, 2]), NodeMap(sizes: [5]),
  ]

  /// Sizes that nothing divides, matrices with fewer rows than ranks, a vector.
  private static func units(ranks: Int) -> [RowShards] {
    [
      RowShards([.init(rows: 37, columns: 50), .init(rows: 3, columns: 129), .init(rows: 11, columns: 1)], ranks: ranks),
      RowShards([.init(rows: 2, columns: 33)], ranks: ranks),
    ]
  }

  private struct Counted: Sendable, Equatable {
    var sent = 0
    var betweenNodes = 0
  }

  @Test(arguments: maps)
  func reductionsSendWhatIsForecast(_ map: NodeMap) throws {
    let wires: [GradientWire] = [.exact, .fp32, .bf16, .int8] + (map.isEven ? [.twoLevel] : [])
    let ranks = map.rankCount, units = Self.units(ranks: ranks)
    for wire in wires {
      for contributors in Set([1, ranks - 1, ranks]) where contributors > 0 {
        let counted = try Communicator.onThreads(ranks, nodes: map) { communicator in
          let arena = Arena("forecast"), sink = IgnoringSink()
          let reducer = try GradientReducer(
            communicator, units, lanes: ranks, options: GradientWireOptions(wire, depth: 1), sink: sink, in: arena)
          let before = communicator.statistics.gradients
          for (index, unit) in units.enumerated() {
            var gradient = Tensor(rows: 1, columns: unit.elementCount, in: arena)
            try reducer.reduce(
              &gradient, unit: index, of: unit, contributors: contributors, firstLane: wire == .exact ? 0 : nil,
              overwrite: true, step: 0, number: 0)
          }
          try reducer.drain()
          let after = communicator.statistics.gradients
          return Counted(
            sent: after.bytesSent - before.bytesSent, betweenNodes: after.bytesBetweenNodes - before.bytesBetweenNodes)
        }
        let forecast = CommunicationForecast(
          map, wire, reductions: units.map { .init($0, contributors: contributors) }, gathers: []).gradients
        #expect(
          counted.reduce(0) { $0 + $1.betweenNodes } == forecast.bytesBetweenNodes,
          "\(wire), \(contributors) contributors on \(map.description)")
        #expect(
          counted.reduce(0) { $0 + $1.sent } == forecast.bytesBetweenNodes + forecast.bytesWithinNodes,
          "\(wire), \(contributors) contributors on \(map.description)")
        // Every unit's busiest node, which need not be the same.
        let out = (0..<map.nodeCount).map { node in map.ranks(onNode: node).reduce(0) { $0 + counted[$1].betweenNodes } }
        #expect(forecast.bytesOutOfNode >= out.max() ?? 0)
      }
    }
  }

  @Test(arguments: maps)
  func gathersSendWhatIsForecast(_ map: NodeMap) throws {
    let ranks = map.rankCount
    let bytes = (0..<ranks).map { $0 == 1 ? 0 : 100 + 37 * $0 }
    let counted = try Communicator.onThreads(ranks, nodes: map) { communicator in
      let gather = try PayloadGather(communicator, capacity: bytes.reduce(0, +), in: Arena("forecast"))
      unsafe try gather.start { bytes[$0] } fill: { _ in }
      unsafe try gather.finish { _, _, _ in }
      let flow = communicator.statistics.weights
      return Counted(sent: flow.bytesSent, betweenNodes: flow.bytesBetweenNodes)
    }
    let forecast = CommunicationForecast(map, .exact, reductions: [], gathers: [.init(bytes: bytes)]).weights
    #expect(counted.reduce(0) { $0 + $1.betweenNodes } == forecast.bytesBetweenNodes, "\(map.description)")
    #expect(
      counted.reduce(0) { $0 + $1.sent } == forecast.bytesBetweenNodes + forecast.bytesWithinNodes, "\(map.description)")
    let out = (0..<map.nodeCount).map { node in map.ranks(onNode: node).reduce(0) { $0 + counted[$1].betweenNodes } }
    #expect(forecast.bytesOutOfNode == out.max())
  }
}

/// Takes sums and keeps none.
private final class IgnoringSink: GradientSink {
  func withGradient(ofUnit unit: Int, _ body: (inout Tensor) -> Void) {}
  func adjust(_ contribution: inout Tensor, unit: Int, lane: Int?, number: Int) {}
}
