import Tensors

/// One unit's gradients on their way to its owners in two hops (SDP4Bit's TLq-HS, arXiv 2410.15526, section 3.2):
///
///   1  to the ranks of the node, 8-bit codes of rotated groups: the rank with place j gets what concerns the owners with
///      place j on every node, and adds it up
///   2  to the owners, 4-bit codes of the node's sums, still rotated: no inverse between the hops
///   3  the owner adds nodes in their order and undoes the rotation once
///
/// A rank's own part of a hop does not travel and is not rounded. On one node there is only the first hop, and with one
/// rank a node only the second. The link of a node carries 4.25 bits a value, once, whatever its number of ranks.
final class TwoLevelPassage: GradientPassage {
  private enum Stage { case idle, local, cross }

  private let communicator: Communicator
  private let topology: Topology
  private let nodeCount: Int
  private let local: PassageHop, cross: PassageHop
  private let scratch: ReductionScratch
  private let feedback: GradientFeedback?
  private let eight = WireValues.coded(GradientWire.intraCodec), four = WireValues.coded(GradientWire.interCodec)
  private var job: GradientReducer.Job?
  private var stage = Stage.idle
  private var sequence = 0
  /// The node's sums for the owners with this rank's place, node after node.
  private var column: Tensor

  init(
    _ communicator: Communicator, _ topology: Topology, _ units: [RowShards], _ scratch: ReductionScratch,
    _ feedback: GradientFeedback?, in arena: Arena
  ) throws(CommunicationError) {
    guard let nodes = topology.cross else { preconditionFailure("two levels need even nodes") }
    self.communicator = communicator
    self.topology = topology
    self.scratch = scratch
    self.feedback = feedback
    nodeCount = nodes.size
    let eight = eight, four = four
    var localSend = 0, localReceive = 0, crossSend = 0, crossReceive = 0, sums = 0
    for unit in units {
      let eights = (0..<topology.local.size).map { place in
        (0..<nodes.size).reduce(0) { $0 + ShardSegments(unit, rank: topology.rank(node: $1, place: place), eight).byteCount }
      }
      let fours = (0..<nodes.size).map { ShardSegments(unit, rank: topology.rank(node: $0, place: topology.place), four) }
      localSend = max(localSend, eights.reduce(0, +) - eights[topology.place])
      localReceive = max(localReceive, eights[topology.place] * topology.local.size)
      crossSend = max(crossSend, fours.reduce(0) { $0 + $1.byteCount } - fours[topology.node].byteCount)
      crossReceive = max(crossReceive, fours[topology.node].byteCount * nodes.size)
      sums = max(sums, fours.reduce(0) { $0 + $1.sumCount })
    }
    local = try PassageHop(topology.local, send: localSend, receive: localReceive, in: arena)
    cross = try PassageHop(nodes, send: crossSend, receive: crossReceive, in: arena)
    column = Tensor(rows: 1, columns: sums, in: arena)
  }

  private func rank(_ node: Int, _ place: Int) -> Int { topology.rank(node: node, place: place) }

  /// Whether a rank of this node has something to add.
  private func contributes(node: Int, _ job: GradientReducer.Job) -> Bool {
    (0..<topology.local.size).contains { rank(node, $0) < job.contributors }
  }

  // MARK: First hop

  func start(_ gradient: inout Tensor, _ job: GradientReducer.Job) throws(CommunicationError) {
    var idle = local.take()
    let rounding = job.rounding.first, isOwnContribution = communicator.rank < job.contributors
    let full = unsafe gradient.unsafeAddress()
    let lost = feedback?.first[job.unit].values.count ?? 0
    var packed = 0
    for place in 0..<topology.local.size {
      local.plan.sendOffsets[place] = Int64(packed)
      local.plan.sendCounts[place] = 0
      if place == topology.place {
        var sum = 0, bytes = 0
        for node in 0..<nodeCount {
          let segments = ShardSegments(job.shards, rank: rank(node, place), eight)
          if isOwnContribution { unsafe segments.begin(column.unsafeMutableAddress() + sum, with: full) }
          sum += segments.sumCount
          bytes += segments.byteCount
        }
        for sender in 0..<topology.local.size {
          local.plan.receiveOffsets[sender] = Int64(sender * bytes)
          local.plan.receiveCounts[sender] = Int64(rank(topology.node, sender) < job.contributors ? bytes : 0)
        }
        continue
      }
      guard isOwnContribution else { continue }
      for node in 0..<nodeCount {
        let owner = rank(node, place)
        let segments = ShardSegments(job.shards, rank: owner, eight)
        let residual = unsafe lost == 0
          ? nil : feedback.map { unsafe $0.first[job.unit].values.unsafeMutableAddress() + sumOffset(ofRank: owner, job) }
        unsafe segments.encode(
          full, to: UnsafeMutableRawPointer(idle.send.unsafeMutableAddress()) + packed, rounding, residual: residual)
        packed += segments.byteCount
      }
      local.plan.sendCounts[place] = Int64(packed) - local.plan.sendOffsets[place]
    }
    self.job = job
    sequence = communicator.nextSequence(.gradients)
    try local.send(idle, tag: 2 * sequence)
    stage = .local
  }

  private func sumOffset(ofRank owner: Int, _ job: GradientReducer.Job) -> Int {
    (0..<owner).reduce(0) { $0 + ShardSegments(job.shards, rank: $1, eight).sumCount }
  }

  func poll(mayAdvance: Bool) throws(CommunicationError) -> Bool {
    let done = try (stage == .local ? local : cross).poll()
    if stage == .local, done, mayAdvance { try goBetweenNodes() }
    return stage == .cross
  }

  // MARK: Second hop

  private func goBetweenNodes() throws(CommunicationError) {
    guard let job else { preconditionFailure("no first hop") }
    let arrived = try local.arrive()
    addLocal(arrived, job)
    local.giveBack(arrived)
    var idle = cross.take()

    let isSending = contributes(node: topology.node, job), rounding = job.rounding.second
    let ownBytes = ShardSegments(job.shards, rank: communicator.rank, four).byteCount
    let lost = feedback?.second[job.unit].values.count ?? 0
    var packed = 0, sum = 0
    for node in 0..<nodeCount {
      let segments = ShardSegments(job.shards, rank: rank(node, topology.place), four)
      defer { sum += segments.sumCount }
      cross.plan.sendOffsets[node] = Int64(packed)
      cross.plan.sendCounts[node] = 0
      cross.plan.receiveOffsets[node] = Int64(node * ownBytes)
      cross.plan.receiveCounts[node] = Int64(contributes(node: node, job) ? ownBytes : 0)
      guard node != topology.node, isSending else { continue }
      let residual = unsafe lost == 0
        ? nil : feedback.map { unsafe $0.second[job.unit].values.unsafeMutableAddress() + sum }
      unsafe segments.encode(
        sum: column.unsafeAddress() + sum, to: UnsafeMutableRawPointer(idle.send.unsafeMutableAddress()) + packed, rounding,
        residual: residual)
      cross.plan.sendCounts[node] = Int64(segments.byteCount)
      packed += segments.byteCount
    }
    try cross.send(idle, tag: 2 * sequence + 1)
    stage = .cross
  }

  /// Adds what the ranks of this node sent to what this rank began the column with.
  private func addLocal(_ arrived: borrowing ExchangeBuffers, _ job: GradientReducer.Job) {
    var isEmpty = communicator.rank >= job.contributors
    let base = unsafe UnsafeRawPointer(arrived.receive.unsafeAddress())
    for sender in 0..<topology.local.size
    where sender != topology.place && rank(topology.node, sender) < job.contributors {
      var bytes = Int(local.plan.receiveOffsets[sender]), sum = 0
      for node in 0..<nodeCount {
        let segments = ShardSegments(job.shards, rank: rank(node, topology.place), eight)
        unsafe segments.add(
          base + bytes, to: column.unsafeMutableAddress() + sum, accumulate: !isEmpty,
          widened: scratch.contribution.unsafeMutableAddress())
        bytes += segments.byteCount
        sum += segments.sumCount
      }
      isEmpty = false
    }
  }

  // MARK: The owner's sum

  func finish(into sink: any GradientSink) throws(CommunicationError) {
    if stage == .local { try goBetweenNodes() }
    let arrived = try cross.arrive()
    guard let job else { preconditionFailure("a passage that was not started") }
    let segments = ShardSegments(job.shards, rank: communicator.rank, four)
    let base = unsafe UnsafeRawPointer(arrived.receive.unsafeAddress())
    let total = unsafe scratch.sum.unsafeMutableAddress()
    var isEmpty = true, own = 0
    for node in 0..<topology.node { own += ShardSegments(job.shards, rank: rank(node, topology.place), four).sumCount }
    for node in 0..<nodeCount where contributes(node: node, job) {
      if node == topology.node {
        unsafe segments.addSum(column.unsafeAddress() + own, to: total, accumulate: !isEmpty)
      } else {
        unsafe segments.add(
          base + Int(cross.plan.receiveOffsets[node]), to: total, accumulate: !isEmpty,
          widened: scratch.contribution.unsafeMutableAddress())
      }
      isEmpty = false
    }
    unsafe segments.end(total, to: scratch.contribution.unsafeMutableAddress())
    scratch.deliver(job, to: sink)
    self.job = nil
    stage = .idle
    cross.giveBack(arrived)
  }
}
