import Checkpoints
import Communication
import Tensors

/// Times of single messages within nodes and between them, and the links that they make.
struct LinkProbe {
  struct Route {
    let name: String
    /// Least and median of each length.
    var times: [(bytes: Int, least: Double, median: Double)] = []

    var model: LinkModel? { LinkModel(fitting: times.map { ($0.bytes, $0.least) }) }
  }

  /// Nil where there are no two such ranks.
  let within: Route?
  let between: Route?
  /// Bytes of a node when every rank sends to every rank of the others, as a step's exchanges do. It can be slower than
  /// one pair finds a link; whether because messages of several nodes meet in front of one has not been examined.
  let crowd: Route?

  /// Collective.
  ///
  /// - Parameter largest: bytes of the longest message.
  init(on communicator: Communicator, largest: Int, repetitions: Int) throws {
    // Exchanges leave out empty messages: one byte is the least.
    var lengths = [1, 64]
    while lengths[lengths.count - 1] < largest { lengths.append(min(4 * lengths[lengths.count - 1], largest)) }
    let map = communicator.topology?.map ?? NodeMap(sizes: [communicator.size])
    let firsts = (0..<map.nodeCount).map { map.ranks(onNode: $0)[0] }

    // On every node with two ranks these change messages; between nodes the first ranks send around a ring. So all
    // links are busy at once and in both directions, as they are in a step.
    let rank = communicator.rank, own = map.ranks(onNode: map.nodes[rank]), place = map.locals[rank]
    func measure(_ name: String, _ partners: (to: [Int], from: [Int]), cut: Int = 1) throws -> Route {
      try Self.measure(name, partners, cut: cut, communicator, lengths, repetitions)
    }
    let hasNeighbours = map.nodeCount < communicator.size
    let neighbour = own.count > 1 && place < 2 ? [own[1 - place]] : []
    within = hasNeighbours ? try measure("within a node", (neighbour, neighbour)) : nil
    guard map.nodeCount > 1 else {
      between = nil
      crowd = nil
      return
    }
    let node = map.nodes[rank], count = map.nodeCount
    between = try measure(
      "between nodes",
      place == 0 ? ([firsts[(node + 1) % count]], [firsts[(node + count - 1) % count]]) : ([], []))
    let others = (0..<communicator.size).filter { map.nodes[$0] != node }
    // Messages that leave the node which sends most.
    let cut = map.sizes.map { $0 * (communicator.size - $0) }.max() ?? 1
    crowd = try measure("between nodes, all ranks to all", (others, others), cut: cut)
  }

  /// - Parameters:
  ///   - partners: whom this rank sends to and receives from.
  ///   - cut: into how many messages a length is divided, of which every partner gets one.
  private static func measure(
    _ name: String, _ partners: (to: [Int], from: [Int]), cut: Int, _ communicator: Communicator, _ lengths: [Int],
    _ repetitions: Int
  ) throws -> Route {
    let arena = Arena("links"), channel = try ExchangeChannel(communicator, .control)
    let longest = ((lengths.max() ?? 0) / cut + 1) * max(partners.to.count, partners.from.count, 1)
    var idle: ExchangeBuffers? = ExchangeBuffers(send: longest, receive: longest, in: arena)
    var route = Route(name: name), tag = 0
    for bytes in lengths {
      var plan = ExchangePlan(ranks: communicator.size)
      let piece = Int64((bytes + cut - 1) / cut)
      for (index, partner) in partners.to.enumerated() {
        plan.sendOffsets[partner] = Int64(index) * piece
        plan.sendCounts[partner] = piece
      }
      for (index, partner) in partners.from.enumerated() {
        plan.receiveOffsets[partner] = Int64(index) * piece
        plan.receiveCounts[partner] = piece
      }
      var sample = Sample()
      // Long messages take so long that few of them are enough.
      for repetition in 0...(bytes < 1 << 20 ? repetitions : min(repetitions, 5)) {
        guard let buffers = idle.take() else { preconditionFailure("a message is under way") }
        try communicator.barrier()
        let start = Instant.now
        let transfer = try channel.start(plan, tag: tag, buffers)
        idle = try transfer.finish()
        // The first opens connections.
        if repetition > 0, !partners.to.isEmpty { sample.add(Instant.now - start) }
        tag += 1
      }
      route.times.append(partners.to.isEmpty ? (bytes, 0, 0) : (bytes, sample.wall.least, sample.wall.median))
    }
    return route
  }

  /// The links as rank 0 saw them, between nodes with the speed of a crowd, the same on every rank; nil where one was
  /// not measured. Collective.
  func models(on communicator: Communicator) throws -> LinkModels? {
    // Rank 0 is the first of its node and takes part in both routes.
    let inner = (within ?? between)?.model, outer = (between ?? within)?.model
    func shared(_ value: Double?) throws -> Double {
      Double(bitPattern: UInt64(bitPattern: try communicator.broadcast(Int64(bitPattern: (value ?? 0).bitPattern))))
    }
    let latencies = (try shared(inner?.latency), try shared(outer?.latency))
    let speeds = (
      try shared(inner?.bytesPerSecond), try shared(crowd?.model?.bytesPerSecond ?? outer?.bytesPerSecond)
    )
    guard speeds.0 > 0, speeds.1 > 0 else { return nil }
    return LinkModels(
      within: LinkModel(latency: latencies.0, bytesPerSecond: speeds.0),
      between: LinkModel(latency: latencies.1, bytesPerSecond: speeds.1))
  }

  func print(_ report: ReportOptions) {
    for route in [within, between, crowd].compactMap({ $0 }) {
      let model = route.model
      report.line([
        ("bench", "links"), ("route", .string(route.name)),
        ("latency_seconds", model.map { $0.latency.json } ?? .null),
        ("bytes_per_second", model.map { $0.bytesPerSecond.json } ?? .null),
        ("seconds_per_byte", model.map { (1 / $0.bytesPerSecond).json } ?? .null),
        ("messages", .array(route.times.map {
          ["bytes": .integer($0.bytes), "seconds_min": $0.least.json, "seconds_median": $0.median.json]
        })),
      ])
      var table = Table(["bytes", "least us", "median us", "model us", "Gbit/s"])
      for time in route.times {
        table.add([
          "\(time.bytes)", (1e6 * time.least).fixed(1), (1e6 * time.median).fixed(1),
          model.map { (1e6 * $0.seconds(messages: 1, bytes: time.bytes)).fixed(1) } ?? "-",
          time.least > 0 ? (8e-9 * Double(time.bytes) / time.least).fixed(3) : "-",
        ])
      }
      let found = model.map {
        "latency \((1e6 * $0.latency).fixed(1)) us, \($0.gigabitsPerSecond.fixed(3)) Gbit/s"
      } ?? "no straight line"
      report.table("Link \(route.name): \(found)", table)
    }
  }
}
