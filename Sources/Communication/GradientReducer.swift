import Kernels
public import Tensors

/// Where reduced gradients go: the owner of the shards.
public protocol GradientSink: AnyObject {
  /// This rank's rows of a unit's gradient, in shard layout.
  func withGradient(ofUnit unit: Int, _ body: (inout Tensor) -> Void)
  /// Sees every contribution before it is added, for example to mask it: in shard layout, on the owner.
  ///
  /// - Parameter lane: whose it is; nil for the sum of several.
  func adjust(_ contribution: inout Tensor, unit: Int, lane: Int?)
}

/// Sums gradients over ranks while the next ones are computed: each owner gets its rows.
///
///     reducer.reduce(&gradient, ...)   copies what has to travel and starts to send it; `gradient` is free again
///     reducer.poll()                   from the compute loop
///     reducer.drain()                  until then results arrive in the sink
///
/// At most `depth` units are in flight; results are added in the order in which the units were started. One rank adds
/// straight from its gradient; nothing is copied or rounded.
///
/// - Note: On `exact` the bits do not depend on the number of ranks. On the other wires they depend on the number of ranks
///   (and on `twoLevel` on how they lie on nodes), and are the same whenever these are.
public final class GradientReducer {
  /// One call of `reduce`.
  struct Job {
    let unit: Int
    let shards: RowShards
    /// Ranks 0 ..< contributors have something to add.
    let contributors: Int
    /// The lane of rank 0 in this round; ranks follow. Nil where a rank's sum covers several.
    let firstLane: Int?
    let overwrite: Bool
    /// Of the codes of either hop.
    let rounding: (first: WireRounding, second: WireRounding)
  }

  private let communicator: Communicator
  private unowned let sink: any GradientSink
  private let options: GradientWireOptions
  private let passages: [any GradientPassage]
  private let firstElements: [Int]
  /// Passages in flight, oldest first, as positions in a ring.
  private var oldest = 0, flying = 0
  /// What rounding lost, if it is fed back.
  public let feedback: GradientFeedback?

  /// - Parameter units: all that will be reduced.
  public init(
    _ communicator: Communicator, _ units: [RowShards], lanes: Int, options: GradientWireOptions, sink: any GradientSink,
    in arena: Arena
  ) throws(CommunicationError) {
    self.communicator = communicator
    self.sink = sink
    self.options = options
    var first = 0
    firstElements = units.map { unit in
      defer { first += unit.elementCount }
      return first
    }
    guard communicator.size > 1 else {
      passages = []
      feedback = nil
      return
    }
    guard let topology = communicator.topology else { preconditionFailure("gradients need the whole job's communicator") }
    if options.wire == .twoLevel, topology.cross == nil {
      throw CommunicationError(
        call: "two_level gradients", rank: communicator.rank, size: communicator.size,
        found: "\(topology.map.description), expected the same number on every node",
        hint: "Start as many ranks on every node, or choose gradients: int8")
    }
    let feedback = options.feedsBack ? GradientFeedback(units, options.wire, communicator.rank, topology, in: arena) : nil
    self.feedback = feedback
    let scratch = ReductionScratch(units, options.wire, rank: communicator.rank, in: arena)
    var passages: [any GradientPassage] = []
    for _ in 0..<max(1, options.depth) {
      switch options.wire {
      case .exact: passages.append(try ExactPassage(communicator, units, lanes: lanes, in: arena))
      case .fp32: passages.append(try FlatPassage(communicator, units, .fp32, scratch, feedback, in: arena))
      case .bf16: passages.append(try FlatPassage(communicator, units, .bf16, scratch, feedback, in: arena))
      case .int8:
        passages.append(
          try FlatPassage(communicator, units, .coded(GradientWire.intraCodec), scratch, feedback, in: arena))
      case .twoLevel:
        passages.append(try TwoLevelPassage(communicator, topology, units, scratch, feedback, in: arena))
      }
    }
    self.passages = passages
  }

  /// Sends this rank's gradient of a unit. Collective: ranks without one call it as well, in the same order.
  ///
  /// - Parameters:
  ///   - gradient: the unit's full gradient; ignored unless the rank contributes. Its content is spent.
  ///   - unit: index in the units of `init`, divided as `shards`.
  ///   - contributors: ranks 0 ..< contributors have something to add.
  ///   - firstLane: the lane of rank 0 where every contribution is one lane's; nil for sums of several.
  ///   - overwrite: whether the result replaces what the sink holds.
  ///   - step, number: the optimizer step, and which reduction of this unit in it: they name random numbers.
  public func reduce(
    _ gradient: inout Tensor, unit: Int, of shards: RowShards, contributors: Int, firstLane: Int?, overwrite: Bool,
    step: Int, number: Int
  ) throws(CommunicationError) {
    precondition((1...communicator.size).contains(contributors), "\(contributors) contributors of \(communicator.size)")
    precondition(shards.ranks == communicator.size, "a unit over \(shards.ranks) ranks on \(communicator.size)")
    precondition(communicator.rank >= contributors || gradient.count == shards.elementCount,
      "a gradient of \(gradient.count) elements for a unit of \(shards.elementCount)")
    if passages.isEmpty {
      sink.adjust(&gradient, unit: unit, lane: firstLane)
      sink.withGradient(ofUnit: unit) { sum in
        if overwrite { sum.copy(from: gradient) } else { sum.accumulate(gradient) }
      }
      return
    }
    if flying == passages.count { try finishOldest() }
    let job = Job(
      unit: unit, shards: shards, contributors: contributors, firstLane: firstLane, overwrite: overwrite,
      rounding: (rounding(unit, step, number, hop: 0), rounding(unit, step, number, hop: 1)))
    try passages[(oldest + flying) % passages.count].start(&gradient, job)
    flying += 1
    if options.depth == 0 { try drain() }
  }

  /// The numbers of a message belong to the step, the hop and the sender; within it to the element.
  private func rounding(_ unit: Int, _ step: Int, _ number: Int, hop: UInt64) -> WireRounding {
    guard options.isStochastic else { return WireRounding(random: nil, first: firstElements[unit]) }
    let message = (UInt64(step) &* 4096 &+ UInt64(number)) &* 2 &+ hop
    let stream = (message &* 0x1_0000 &+ UInt64(communicator.rank)) ^ 0x6772_6164_7769_7265
    return WireRounding(random: CounterRandom(seed: options.seed, stream: stream), first: firstElements[unit])
  }

  /// Moves bytes. Call it often while computing.
  ///
  /// A second hop waits for those of older passages: what rounding loses there is kept by unit, and a unit that is in
  /// flight twice must find it as the first left it, whichever message arrives first.
  public func poll() throws(CommunicationError) {
    var mayAdvance = true
    for index in 0..<flying {
      mayAdvance = try passages[(oldest + index) % passages.count].poll(mayAdvance: mayAdvance)
    }
  }

  /// Waits until every unit has arrived in the sink.
  public func drain() throws(CommunicationError) {
    while flying > 0 { try finishOldest() }
  }

  private func finishOldest() throws(CommunicationError) {
    try passages[oldest].finish(into: sink)
    oldest = (oldest + 1) % passages.count
    flying -= 1
  }
}

/// One unit on its way; used again when it has arrived.
protocol GradientPassage: AnyObject {
  /// Copies what has to travel and starts to send it.
  func start(_ gradient: inout Tensor, _ job: GradientReducer.Job) throws(CommunicationError)
  /// Moves bytes; true once the last hop is on its way, which only happens if the passage may advance.
  func poll(mayAdvance: Bool) throws(CommunicationError) -> Bool
  /// Waits for the rest and gives the result to the sink.
  func finish(into sink: any GradientSink) throws(CommunicationError)
}

/// Memory that passages use only while one of them finishes.
final class ReductionScratch {
  /// A sum over ranks, in the layout of the wire.
  var sum: Tensor
  /// The same in the layout of the shard.
  var contribution: Tensor
  private let rank: Int

  init(_ units: [RowShards], _ wire: GradientWire, rank: Int, in arena: Arena) {
    self.rank = rank
    let owned = wire == .exact ? 0 : units.map { $0.elementCount(ofRank: rank) }.max() ?? 0
    let codec = WireValues.coded(GradientWire.interCodec)
    let padded =
      wire == .twoLevel ? units.map { ShardSegments($0, rank: rank, codec).sumCount }.max() ?? 0 : 0
    sum = Tensor(rows: 1, columns: padded, in: arena)
    contribution = Tensor(rows: 1, columns: owned, in: arena)
  }

  /// Gives the contribution, once it is there, to the sink.
  func deliver(_ job: GradientReducer.Job, to sink: any GradientSink) {
    var result = contribution.region(0, rows: 1, columns: job.shards.elementCount(ofRank: rank))
    sink.adjust(&result, unit: job.unit, lane: nil)
    sink.withGradient(ofUnit: job.unit) { sum in
      if job.overwrite { sum.copy(from: result) } else { sum.accumulate(result) }
    }
  }
}
