import Tensors

/// One unit's gradients on their way to its owners in one hop: an all-to-all of every rank's sum.
///
/// Each owner begins with its own rows, which do not travel and are not rounded, and adds the others' in the order of
/// ranks. Codes are added in the rotated domain; the rotation is undone once. (No ring: rounding again at every hop costs 3
/// to 8 times the error.)
final class FlatPassage: OneHopPassage {
  private let communicator: Communicator
  let hop: PassageHop
  private let values: WireValues
  private let scratch: ReductionScratch
  private let feedback: GradientFeedback?
  private var job: GradientReducer.Job?
  /// This rank's rows, in the layout of the wire.
  private var sum: Tensor

  init(
    _ communicator: Communicator, _ units: [RowShards], _ values: WireValues, _ scratch: ReductionScratch,
    _ feedback: GradientFeedback?, in arena: Arena
  ) throws(CommunicationError) {
    self.communicator = communicator
    self.values = values
    self.scratch = scratch
    self.feedback = feedback
    let rank = communicator.rank, size = communicator.size
    var send = 0, receive = 0, owned = 0
    for unit in units {
      let bytes = (0..<size).map { ShardSegments(unit, rank: $0, values).byteCount }
      send = max(send, bytes.reduce(0, +) - bytes[rank])
      receive = max(receive, bytes[rank] * size)
      owned = max(owned, ShardSegments(unit, rank: rank, values).sumCount)
    }
    hop = try PassageHop(communicator, send: send, receive: receive, in: arena)
    sum = Tensor(rows: 1, columns: owned, in: arena)
  }

  func start(_ gradient: inout Tensor, _ job: GradientReducer.Job) throws(CommunicationError) {
    var idle = hop.take()
    let rank = communicator.rank, rounding = job.rounding.first
    let contributes = rank < job.contributors
    let full = unsafe gradient.unsafeAddress()
    var packed = 0, residual = 0
    for other in 0..<communicator.size {
      let segments = ShardSegments(job.shards, rank: other, values)
      defer { residual += segments.sumCount }
      hop.plan.sendCounts[other] = 0
      if other == rank {
        let bytes = segments.byteCount
        for sender in 0..<communicator.size {
          hop.plan.receiveOffsets[sender] = Int64(sender * bytes)
          hop.plan.receiveCounts[sender] = Int64(sender < job.contributors ? bytes : 0)
        }
        if contributes { unsafe segments.begin(sum.unsafeMutableAddress(), with: full) }
        continue
      }
      guard contributes else { continue }
      let lost = unsafe feedback.map { unsafe $0.first[job.unit].values.unsafeMutableAddress() + residual }
      unsafe segments.encode(
        full, to: UnsafeMutableRawPointer(idle.send.unsafeMutableAddress()) + packed, rounding,
        residual: feedback?.first[job.unit].values.count == 0 ? nil : lost)
      hop.plan.sendOffsets[other] = Int64(packed)
      hop.plan.sendCounts[other] = Int64(segments.byteCount)
      packed += segments.byteCount
    }
    self.job = job
    try hop.send(idle, tag: communicator.nextSequence(.gradients) * 2)
  }

  func finish(into sink: any GradientSink) throws(CommunicationError) {
    let arrived = try hop.arrive()
    guard let job else { preconditionFailure("a passage that was not started") }
    let rank = communicator.rank
    let segments = ShardSegments(job.shards, rank: rank, values)
    var isEmpty = rank >= job.contributors
    let base = unsafe UnsafeRawPointer(arrived.receive.unsafeAddress())
    let total = unsafe sum.unsafeMutableAddress()
    for other in 0..<job.contributors where other != rank {
      unsafe segments.add(
        base + Int(hop.plan.receiveOffsets[other]), to: total, accumulate: !isEmpty,
        widened: scratch.contribution.unsafeMutableAddress())
      isEmpty = false
    }
    unsafe segments.end(total, to: scratch.contribution.unsafeMutableAddress())
    scratch.deliver(job, to: sink)
    self.job = nil
    hop.giveBack(arrived)
  }
}
