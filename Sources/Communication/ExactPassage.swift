import Kernels
import Tensors

/// One unit's gradients on their way to its owners, lane by lane in fp32.
///
/// No float is added inside MPI, and no partial sum depends on which lanes share a rank:
///
///     sum = c[0]; sum += c[1]; ...; sum += c[L-1]        c[l] = adjust(gradient of lane l)
///
/// The first contribution overwrites the sum instead of being added to zeros, for every number of ranks alike (0 + x is
/// x except for -0, whose sign would be lost). Cost per rank and round: the unit is sent and received once in fp32, minus
/// the rank's own rows.
final class ExactPassage: OneHopPassage {
  private let communicator: Communicator
  let hop: PassageHop
  private var job: GradientReducer.Job?

  init(_ communicator: Communicator, _ units: [RowShards], lanes: Int, in arena: Arena) throws(CommunicationError) {
    self.communicator = communicator
    let rank = communicator.rank
    let largest = units.map(\.elementCount).max() ?? 0
    let owned = units.map { $0.elementCount(ofRank: rank) }.max() ?? 0
    hop = try PassageHop(
      communicator,
      send: rank < lanes ? 4 * largest : 0, receive: 4 * owned * min(lanes, communicator.size), in: arena)
  }

  func start(_ gradient: inout Tensor, _ job: GradientReducer.Job) throws(CommunicationError) {
    var idle = hop.take()
    let rank = communicator.rank, owned = 4 * job.shards.elementCount(ofRank: rank)
    let contributes = rank < job.contributors
    var packed = 0
    for other in 0..<communicator.size {
      // There is room for as many contributions as lanes: a rank beyond them has no place.
      let isContributor = other < job.contributors
      hop.plan.receiveOffsets[other] = Int64(isContributor ? other * owned : 0)
      hop.plan.receiveCounts[other] = Int64(isContributor ? owned : 0)
      hop.plan.sendCounts[other] = 0
      guard contributes else { continue }
      if other == rank {
        let place = unsafe UnsafeMutableRawPointer(idle.receive.unsafeMutableAddress()) + rank * owned
        unsafe job.shards.copyShard(
          ofRank: rank, .elements(size: 4), fromFull: gradient.unsafeAddress(), toShard: place)
        continue
      }
      hop.plan.sendOffsets[other] = Int64(packed)
      let place = unsafe UnsafeMutableRawPointer(idle.send.unsafeMutableAddress()) + packed
      let bytes = unsafe job.shards.copyShard(
        ofRank: other, .elements(size: 4), fromFull: gradient.unsafeAddress(), toShard: place)
      hop.plan.sendCounts[other] = Int64(bytes)
      packed += bytes
    }
    self.job = job
    try hop.send(idle, tag: communicator.nextSequence(.gradients) * 2)
  }

  func finish(into sink: any GradientSink) throws(CommunicationError) {
    let arrived = try hop.arrive()
    guard let job else { preconditionFailure("a passage that was not started") }
    let owned = job.shards.elementCount(ofRank: communicator.rank)
    for index in 0..<job.contributors {
      var contribution = arrived.receive.floats(from: 4 * index * owned, count: owned)
      sink.adjust(&contribution, unit: job.unit, lane: job.firstLane.map { $0 + index }, number: job.number)
      sink.withGradient(ofUnit: job.unit) { sum in
        if job.overwrite && index == 0 { sum.copy(from: contribution) } else { sum.accumulate(contribution) }
      }
    }
    self.job = nil
    hop.giveBack(arrived)
  }
}
