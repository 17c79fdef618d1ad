import Communication
import Tensors
import Testing

/// How many bytes gradients and weights take, in all and between nodes.
@Suite struct WireVolumeTests {
  private static let unit = RowShards.Matrix(rows: 384, columns: 320)

  /// Bits a value that is owned elsewhere takes on its way: `all` from every rank, `between` from every node.
  struct Volume: Sendable { var all = 0.0, between = 0.0, nodeOutput: [Double] = [] }

  private func volume(_ wire: GradientWire, on nodes: NodeMap) throws -> Volume {
    let sent = try Communicator.onThreads(nodes.rankCount, nodes: nodes) { communicator in
      let reduction = try Reduction(communicator, [[Self.unit]], options: .init(wire))
      let before = communicator.statistics
      _ = try reduction.sum(Samples(stream: communicator.rank).normal(Self.unit.elementCount))
      return communicator.statistics.since(before).gradients
    }
    let n = Double(Self.unit.elementCount), ranks = Double(nodes.rankCount), groups = Double(nodes.nodeCount)
    var volume = Volume()
    volume.all = 8 * sent.reduce(0) { $0 + Double($1.bytesSent) } / (n * (ranks - 1))
    if groups > 1 { volume.between = 8 * sent.reduce(0) { $0 + Double($1.bytesBetweenNodes) } / (n * (groups - 1)) }
    volume.nodeOutput = (0..<nodes.nodeCount).map { node in
      8 * nodes.ranks(onNode: node).reduce(0) { $0 + Double(sent[$1].bytesBetweenNodes) } / n
    }
    return volume
  }

  /// A node sends its sum of a value once, in 4.25 bits: how many ranks it has does not matter.
  @Test(arguments: [
    NodeMap(sizes: [2, 2]), NodeMap(sizes: [3, 3]), NodeMap(sizes: [2, 2, 2]), NodeMap(sizes: [1, 1]),
    NodeMap(labels: [0, 1, 0, 1]), NodeMap(sizes: [4, 4, 4, 4]),
  ])
  func twoLevelsBetweenNodes(_ nodes: NodeMap) throws {
    let volume = try volume(.twoLevel, on: nodes)
    print("figure: two_level, \(nodes.description): \(volume.between) bits a value between nodes")
    #expect(volume.between > 4.2 && volume.between <= 4.3, "\(volume)")
    let share = Double(nodes.nodeCount - 1) / Double(nodes.nodeCount)
    for bits in volume.nodeOutput { #expect(bits <= 4.3 * share * 1.02, "\(volume)") }
  }

  @Test(arguments: [(GradientWire.exact, 32.0), (.fp32, 32), (.bf16, 16), (.int8, 8.25), (.twoLevel, 8.25)])
  func bitsOfAValue(_ wire: GradientWire, _ bits: Double) throws {
    let one = try volume(wire, on: NodeMap(sizes: [4]))
    #expect(one.between == 0)
    #expect(one.all >= bits && one.all <= 1.005 * bits, "\(wire): \(one.all) bits")
    guard wire != .twoLevel else { return }
    // Flat: every rank of a node sends its own values to other nodes.
    let four = try volume(wire, on: NodeMap(sizes: [2, 2]))
    #expect(four.all == one.all)
    #expect(four.between >= 2 * bits && four.between <= 2.01 * bits, "\(wire): \(four.between) bits")
  }

  /// In two hops a rank's message crosses to each other node once, flat to each of its ranks.
  @Test func gathersBetweenNodes() throws {
    let cases: [(NodeMap, bytes: Int)] = [
      (NodeMap(sizes: [2, 2]), 1), (NodeMap(sizes: [3, 3]), 1), (NodeMap(sizes: [2, 2, 2]), 2),
      (NodeMap(labels: [0, 1, 0, 1]), 1), (NodeMap(sizes: [1, 1, 1]), 2), (NodeMap(sizes: [3]), 0),
    ]
    for (nodes, copies) in cases {
      let between = try gathered(1000, on: nodes)
      #expect(between == Array(repeating: 1000 * copies, count: nodes.rankCount), "\(nodes.description)")
    }
    #expect(try gathered(1000, on: NodeMap(sizes: [2, 1])) == [1000, 1000, 2000])
  }

  private func gathered(_ bytes: Int, on nodes: NodeMap) throws -> [Int] {
    try Communicator.onThreads(nodes.rankCount, nodes: nodes) { communicator in
      let gather = try PayloadGather(communicator, capacity: bytes * communicator.size, in: Arena("test"))
      let before = communicator.statistics
      unsafe try gather.start({ _ in bytes }) { _ in }
      unsafe try gather.finish { _, _, _ in }
      return communicator.statistics.since(before).weights.bytesBetweenNodes
    }
  }
}
