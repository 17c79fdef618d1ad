/// What a step sends before anything is sent: bytes, messages and, on given links, seconds.
///
/// Legend: N nodes of m ranks, p = N m; n values of a unit; alpha, beta the latency and the seconds per byte of a link,
/// i within nodes, e between them. A rank's own part of a hop does not travel. A hop takes what its slowest part takes:
///
///     within    (messages of a rank) alpha_i + (bytes of a rank) beta_i
///     between   (messages of a rank) alpha_e + (bytes of a node) beta_e
///
/// where bytes are those sent or those received, whichever are more, because links carry both directions at once; the m
/// ranks of a node share its link. With even shards of b bits a value that makes, between nodes,
///
///     flat reduction         (p - m) alpha_e + m (N-1)/N n b/8 beta_e
///     two levels             (N - 1) alpha_e + (N-1)/N n 4.25/8 beta_e
///                            after (m - 1) alpha_i + (m-1)/m n 8.25/8 beta_i
///     gather in two hops     (N - 1) alpha_e + (N-1)/N n b/8 beta_e
///                            before (m - 1) alpha_i + (m-1)/m n b/8 beta_i
///     flat gather            (p - m) alpha_e + m (N-1)/N n b/8 beta_e        uneven nodes, or one rank a node
///
/// Bytes here are not taken from these formulas but counted from the shards, groups and headers as they are: they are
/// equal to those of ``CommunicationStatistics``. What making and reading the codes takes is not in it.
public struct CommunicationForecast: Sendable, Hashable {
  /// One collective call of a step: its hops, one after another.
  public struct Operation: Sendable, Hashable {
    public internal(set) var hops: [ForecastHop]

    public func seconds(on links: LinkModels) -> Double { hops.reduce(0) { $0 + $1.seconds(on: links) } }
  }

  /// Operations in the order of the step.
  public struct Flow: Sendable, Hashable {
    public internal(set) var operations: [Operation] = []

    var hops: [ForecastHop] { operations.flatMap(\.hops) }
    /// Over all ranks; what statistics count.
    public var bytesBetweenNodes: Int { hops.reduce(0) { $0 + $1.bytesBetweenNodes } }
    public var bytesWithinNodes: Int { hops.reduce(0) { $0 + $1.bytesWithinNodes } }
    /// What leaves the node that sends most.
    public var bytesOutOfNode: Int { hops.reduce(0) { $0 + $1.outOfNode } }
    /// Messages to other nodes, of the rank that sends most.
    public var messagesBetweenNodes: Int { hops.reduce(0) { $0 + $1.messagesBetween } }

    public func seconds(on links: LinkModels) -> Double { operations.reduce(0) { $0 + $1.seconds(on: links) } }
  }

  /// A unit's way to its owners.
  public struct Reduction: Sendable, Hashable {
    public var unit: RowShards
    /// Ranks 0 ..< contributors have something to add.
    public var contributors: Int

    public init(_ unit: RowShards, contributors: Int) {
      self.unit = unit
      self.contributors = contributors
    }
  }

  /// A unit's way to all ranks.
  public struct Gather: Sendable, Hashable {
    /// Of every rank's message.
    public var bytes: [Int]
    /// Whether the backward waits for it.
    public var isInBackward: Bool

    public init(bytes: [Int], isInBackward: Bool = false) {
      self.bytes = bytes
      self.isInBackward = isInBackward
    }

    /// - Parameter bits: of a value, its share of scales included.
    public init(_ unit: RowShards, bits: Double, isInBackward: Bool = false) {
      self.init(
        bytes: (0..<unit.ranks).map { Int((Double(unit.elementCount(ofRank: $0)) * bits / 8).rounded(.up)) },
        isInBackward: isInBackward)
    }
  }

  public let gradients: Flow
  public let weightsOfForward: Flow
  public let weightsOfBackward: Flow
  /// Sums over ranks, as a ring adds them: (p - 1)/p of the bytes out and in again, in 2 (p - 1) messages. The library
  /// may take another way, and statistics count the values once.
  public let control: Flow

  /// Of weights, forward and backward.
  public var weights: Flow { Flow(operations: weightsOfForward.operations + weightsOfBackward.operations) }
  public var bytesBetweenNodes: Int { gradients.bytesBetweenNodes + weights.bytesBetweenNodes }

  /// - Parameters:
  ///   - reductions, gathers: of one step, in the order in which it makes them.
  ///   - summed: bytes of each of the step's sums over ranks.
  public init(
    _ map: NodeMap, _ wire: GradientWire, reductions: [Reduction], gathers: [Gather], summed: [Int] = []
  ) {
    let route = ForecastRoute(map)
    gradients = Flow(operations: reductions.map { route.reduction($0, wire) })
    weightsOfForward = Flow(operations: gathers.filter { !$0.isInBackward }.map { route.gather($0.bytes) })
    weightsOfBackward = Flow(operations: gathers.filter(\.isInBackward).map { route.gather($0.bytes) })
    control = Flow(operations: summed.map { route.sum($0) })
  }

  public func communicationSeconds(on links: LinkModels) -> Double {
    gradients.seconds(on: links) + weights.seconds(on: links) + control.seconds(on: links)
  }

  /// Seconds of communication in which a rank does nothing else.
  ///
  /// Without overlap that is all of it. With overlap the first gather, the last reduction and the sums over ranks have
  /// nothing to hide behind; the other gathers of the forward hide behind its computation, and what the backward
  /// gathers and reduces behind its.
  ///
  /// - Parameters:
  ///   - compute: seconds of forward and backward.
  ///   - backwardShare: the backward's part in them: two products for every one of the forward.
  public func exposedSeconds(
    compute: Double, on links: LinkModels, overlap: Bool, backwardShare: Double = 2.0 / 3
  ) -> Double {
    guard overlap else { return communicationSeconds(on: links) }
    let firstGather = weightsOfForward.operations.first?.seconds(on: links) ?? 0
    let lastReduction = gradients.operations.last?.seconds(on: links) ?? 0
    let forward = weightsOfForward.seconds(on: links) - firstGather
    let backward = weightsOfBackward.seconds(on: links) + gradients.seconds(on: links) - lastReduction
    return firstGather + max(0, forward - (1 - backwardShare) * compute)
      + max(0, backward - backwardShare * compute) + lastReduction + control.seconds(on: links)
  }

  /// Seconds of a step: what it computes and the communication that it waits for.
  public func stepSeconds(
    compute: Double, on links: LinkModels, overlap: Bool, backwardShare: Double = 2.0 / 3
  ) -> Double {
    compute + exposedSeconds(compute: compute, on: links, overlap: overlap, backwardShare: backwardShare)
  }
}
