/// One exchange between ranks, as far as its links are concerned.
public struct ForecastHop: Sendable, Hashable {
  /// Over all ranks.
  public internal(set) var bytesBetweenNodes = 0
  public internal(set) var bytesWithinNodes = 0
  /// Of the node that sends most, and of the one that receives most.
  public internal(set) var outOfNode = 0
  public internal(set) var intoNode = 0
  /// The most that one rank sends to its node's others, or receives from them.
  public internal(set) var widestRank = 0
  /// Of the rank that sends most.
  public internal(set) var messagesBetween = 0
  public internal(set) var messagesWithin = 0

  public func seconds(on links: LinkModels) -> Double {
    max(
      links.within.seconds(messages: messagesWithin, bytes: widestRank),
      links.between.seconds(messages: messagesBetween, bytes: max(outOfNode, intoNode)))
  }
}

/// The ways that messages take over the nodes of a job, hop by hop.
///
/// Everything is summed by node before it is multiplied, so that a hop of p ranks costs p steps and not p * p.
struct ForecastRoute {
  private let map: NodeMap
  private let sizes: [Int]
  private let isEven: Bool

  init(_ map: NodeMap) {
    self.map = map
    sizes = map.sizes
    isEven = Set(sizes).count == 1
  }

  private var ranks: Int { map.rankCount }
  private var hasTwoLevels: Bool { isEven && map.nodeCount > 1 && ranks > map.nodeCount }

  private func sumByNode(_ values: [Int]) -> [Int] {
    var sums = Array(repeating: 0, count: map.nodeCount)
    for rank in values.indices { sums[map.nodes[rank]] += values[rank] }
    return sums
  }

  // MARK: Reductions

  func reduction(_ job: CommunicationForecast.Reduction, _ wire: GradientWire) -> CommunicationForecast.Operation {
    precondition(job.unit.ranks == ranks, "a unit over \(job.unit.ranks) ranks on \(ranks)")
    func bytes(_ values: WireValues) -> [Int] {
      (0..<ranks).map { ShardSegments(job.unit, rank: $0, values).byteCount }
    }
    let hops =
      switch wire {
      case .exact, .fp32: [flatReduction(bytes(.fp32), job.contributors)]
      case .bf16: [flatReduction(bytes(.bf16), job.contributors)]
      case .int8: [flatReduction(bytes(.coded(GradientWire.intraCodec)), job.contributors)]
      case .twoLevel:
        [
          reductionWithinNodes(bytes(.coded(GradientWire.intraCodec)), job.contributors),
          reductionBetweenNodes(bytes(.coded(GradientWire.interCodec)), job.contributors),
        ]
      }
    return CommunicationForecast.Operation(hops: hops)
  }

  /// Every contributor sends every other owner its part.
  private func flatReduction(_ owned: [Int], _ contributors: Int) -> ForecastHop {
    let byNode = sumByNode(owned), all = byNode.reduce(0, +)
    let sending = sumByNode((0..<ranks).map { $0 < contributors ? 1 : 0 })
    var hop = ForecastHop()
    for node in sizes.indices {
      let out = sending[node] * (all - byNode[node])
      hop.bytesBetweenNodes += out
      hop.outOfNode = max(hop.outOfNode, out)
      hop.intoNode = max(hop.intoNode, byNode[node] * (contributors - sending[node]))
      if sending[node] > 0 {
        hop.messagesBetween = max(hop.messagesBetween, ranks - sizes[node])
        hop.messagesWithin = max(hop.messagesWithin, sizes[node] - 1)
      }
    }
    for rank in 0..<ranks {
      let node = map.nodes[rank], isSending = rank < contributors
      let sent = isSending ? byNode[node] - owned[rank] : 0
      let received = owned[rank] * (sending[node] - (isSending ? 1 : 0))
      hop.bytesWithinNodes += sent
      hop.widestRank = max(hop.widestRank, sent, received)
    }
    return hop
  }

  /// Bytes of the owners with each place, over all nodes.
  private func sumByPlace(_ owned: [Int]) -> [Int] {
    var sums = Array(repeating: 0, count: sizes.max() ?? 0)
    for rank in owned.indices { sums[map.locals[rank]] += owned[rank] }
    return sums
  }

  /// Every contributor sends its node's others what concerns the owners with their place.
  private func reductionWithinNodes(_ owned: [Int], _ contributors: Int) -> ForecastHop {
    precondition(isEven, "two levels need even nodes")
    let byPlace = sumByPlace(owned), all = byPlace.reduce(0, +)
    let sending = sumByNode((0..<ranks).map { $0 < contributors ? 1 : 0 })
    var hop = ForecastHop()
    for rank in 0..<ranks {
      let isSending = rank < contributors, place = map.locals[rank]
      let sent = isSending ? all - byPlace[place] : 0
      let received = byPlace[place] * (sending[map.nodes[rank]] - (isSending ? 1 : 0))
      hop.bytesWithinNodes += sent
      hop.widestRank = max(hop.widestRank, sent, received)
    }
    hop.messagesWithin = sizes[0] - 1
    return hop
  }

  /// Every node sends its sums to the owners, each of its ranks to those with its place.
  private func reductionBetweenNodes(_ owned: [Int], _ contributors: Int) -> ForecastHop {
    let byNode = sumByNode(owned), all = byNode.reduce(0, +)
    let sending = sumByNode((0..<ranks).map { $0 < contributors ? 1 : 0 }).map { $0 > 0 }
    let senders = sending.count { $0 }
    var hop = ForecastHop()
    for node in sizes.indices {
      let out = sending[node] ? all - byNode[node] : 0
      hop.bytesBetweenNodes += out
      hop.outOfNode = max(hop.outOfNode, out)
      hop.intoNode = max(hop.intoNode, byNode[node] * (senders - (sending[node] ? 1 : 0)))
    }
    hop.messagesBetween = map.nodeCount - 1
    return hop
  }

  // MARK: Gathers

  /// - Parameter bytes: of every rank's message.
  func gather(_ bytes: [Int]) -> CommunicationForecast.Operation {
    precondition(bytes.count == ranks, "\(bytes.count) messages of \(ranks) ranks")
    let hops = hasTwoLevels ? [gatherBetweenNodes(bytes), gatherWithinNodes(bytes)] : [flatGather(bytes)]
    return CommunicationForecast.Operation(hops: hops)
  }

  /// Every rank sends its message to every other.
  private func flatGather(_ bytes: [Int]) -> ForecastHop {
    let byNode = sumByNode(bytes), all = byNode.reduce(0, +)
    var hop = ForecastHop()
    for node in sizes.indices {
      let out = byNode[node] * (ranks - sizes[node])
      hop.bytesBetweenNodes += out
      hop.outOfNode = max(hop.outOfNode, out)
      hop.intoNode = max(hop.intoNode, (all - byNode[node]) * sizes[node])
      hop.messagesBetween = max(hop.messagesBetween, ranks - sizes[node])
      hop.messagesWithin = max(hop.messagesWithin, sizes[node] - 1)
    }
    for rank in 0..<ranks {
      let node = map.nodes[rank], sent = bytes[rank] * (sizes[node] - 1)
      hop.bytesWithinNodes += sent
      hop.widestRank = max(hop.widestRank, sent, byNode[node] - bytes[rank])
    }
    return hop
  }

  /// Every rank sends its message to the ranks with its place on other nodes.
  private func gatherBetweenNodes(_ bytes: [Int]) -> ForecastHop {
    let byNode = sumByNode(bytes), all = byNode.reduce(0, +)
    var hop = ForecastHop()
    for node in sizes.indices {
      let out = byNode[node] * (map.nodeCount - 1)
      hop.bytesBetweenNodes += out
      hop.outOfNode = max(hop.outOfNode, out)
      hop.intoNode = max(hop.intoNode, all - byNode[node])
    }
    hop.messagesBetween = map.nodeCount - 1
    return hop
  }

  /// The ranks of a node exchange what they have then.
  private func gatherWithinNodes(_ bytes: [Int]) -> ForecastHop {
    let byPlace = sumByPlace(bytes), all = byPlace.reduce(0, +)
    var hop = ForecastHop()
    for sum in byPlace {
      let sent = sum * (sizes[0] - 1)
      hop.bytesWithinNodes += sent * map.nodeCount
      hop.widestRank = max(hop.widestRank, sent, all - sum)
    }
    hop.messagesWithin = sizes[0] - 1
    return hop
  }

  // MARK: Sums

  /// A sum over ranks, slot by slot, on every rank: as a ring does it, in the order of ranks.
  func sum(_ bytes: Int) -> CommunicationForecast.Operation {
    var hop = ForecastHop()
    guard ranks > 1 else { return CommunicationForecast.Operation(hops: [hop]) }
    let sent = 2 * bytes * (ranks - 1) / ranks
    let crossings = (0..<ranks).filter { map.nodes[$0] != map.nodes[($0 + 1) % ranks] }
    var out = Array(repeating: 0, count: map.nodeCount)
    for rank in crossings { out[map.nodes[rank]] += sent }
    hop.outOfNode = out.max() ?? 0
    hop.intoNode = hop.outOfNode
    hop.bytesBetweenNodes = out.reduce(0, +)
    hop.bytesWithinNodes = sent * (ranks - crossings.count)
    hop.widestRank = crossings.count < ranks ? sent : 0
    // Every step waits for the slowest link of the ring.
    if crossings.isEmpty { hop.messagesWithin = 2 * (ranks - 1) } else { hop.messagesBetween = 2 * (ranks - 1) }
    return CommunicationForecast.Operation(hops: [hop])
  }
}
