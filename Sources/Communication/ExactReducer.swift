import Kernels
public import Tensors

/// The sum of all lanes' gradients, each owner's rows on the owner, with bits that do not depend on the number of ranks.
///
/// Per unit and round: every rank with a lane packs its gradient rank-major, an all-to-all brings each owner the lanes'
/// contributions to its rows in fp32, and the owner adds them in ascending lane order to one running sum. No float is
/// added inside MPI, and no partial sum depends on which lanes share a rank:
///
///     sum = c[0]; sum += c[1]; ...; sum += c[L-1]        c[l] = weight * hook(gradient of lane l)
///
/// The first contribution overwrites the sum instead of being added to zeros, for every number of ranks alike (0 + x is
/// x except for -0, whose sign would be lost).
///
/// Cost per rank and round: the unit is sent and received once in fp32, minus the rank's own rows. One rank adds
/// straight from its gradient; nothing is copied.
public final class ExactReducer {
  public let schedule: LaneSchedule
  private let communicator: Communicator
  private let staging: ShardStaging

  public init(_ communicator: Communicator, _ schedule: LaneSchedule, staging: ShardStaging) {
    precondition(schedule.ranks == communicator.size,
      "a schedule for \(schedule.ranks) ranks on a communicator of \(communicator.size)")
    self.communicator = communicator
    self.schedule = schedule
    self.staging = staging
  }

  /// Adds one round's contributions to `unit`. Collective: ranks without a lane in this round call it as well.
  ///
  /// - Parameters:
  ///   - gradient: the unit's full gradient (any shape of `unit.elementCount` elements) of this rank's lane; ignored if
  ///     the rank has none in this round. Its content is spent: with one rank hook and weight work in place.
  ///   - round: of the schedule; its lanes decide who contributes.
  ///   - sum: this rank's rows, in shard layout.
  ///   - overwrite: whether the round's first contribution replaces what `sum` holds: true for the first round that
  ///     reaches this unit in a step.
  ///   - weight: a factor for every contribution of this round, applied after the hook; 1 multiplies nothing.
  ///   - hook: sees each contribution (shard layout, 1 x elements) and its lane before it is added, for example to mask
  ///     it. It runs on the owner, in lane order, and must depend on nothing but contribution, rows and lane.
  public func reduce(
    _ gradient: inout Tensor, round: Int, of unit: RowShards, into sum: inout Tensor, overwrite: Bool,
    weight: Float = 1, hook: (_ contribution: inout Tensor, _ lane: Int) -> Void = { _, _ in }
  ) throws(CommunicationError) {
    staging.check(unit, on: communicator)
    let rank = communicator.rank
    let owned = unit.elementCount(ofRank: rank)
    let lanes = schedule.lanes(inRound: round)
    precondition(sum.count == owned, "rank \(rank): a sum of \(sum.count) elements for a shard of \(owned)")
    let contributes = schedule.lane(ofRank: rank, inRound: round) != nil
    precondition(!contributes || gradient.count == unit.elementCount,
      "rank \(rank): a gradient of \(gradient.count) elements for a unit of \(unit.elementCount)")

    if communicator.size == 1 {
      add(&gradient, lane: lanes.lowerBound, to: &sum, overwrite: overwrite, weight: weight, hook: hook)
      return
    }
    try exchange(&gradient, contributes: contributes, of: unit, contributors: lanes.count)
    for (index, lane) in lanes.enumerated() {
      var contribution = staging.arrived.region(index * owned, rows: 1, columns: owned)
      add(&contribution, lane: lane, to: &sum, overwrite: overwrite && index == 0, weight: weight, hook: hook)
    }
  }

  /// Brings the contributions of ranks 0 ..< contributors to this rank's rows into `staging.arrived`, one after another.
  private func exchange(
    _ gradient: inout Tensor, contributes: Bool, of unit: RowShards, contributors: Int
  ) throws(CommunicationError) {
    let rank = communicator.rank
    let float = MemoryLayout<Float>.stride
    let owned = unit.elementCount(ofRank: rank) * float
    var packed = 0
    for other in 0..<communicator.size {
      staging.receiveCounts[other] = Int64(other < contributors ? owned : 0)
      staging.sendCounts[other] = 0
      guard contributes else { continue }
      let bytes = unsafe unit.copyShard(
        ofRank: other, .elements(size: float), fromFull: gradient.unsafeAddress(),
        toShard: UnsafeMutableRawPointer(staging.packed.unsafeMutableAddress()) + packed)
      staging.sendCounts[other] = Int64(bytes)
      packed += bytes
    }
    // Whoever owns most receives most; whoever contributes sends a whole unit.
    let widest = max(unit.widestShard * contributors, unit.elementCount) * float
    unsafe try communicator.allToAll(
      .gradients, send: staging.packed.unsafeAddress(), sendCounts: staging.sendCounts.unsafeAddress(),
      receive: staging.arrived.unsafeMutableAddress(), receiveCounts: staging.receiveCounts.unsafeAddress(),
      widest: widest)
  }

  private func add(
    _ contribution: inout Tensor, lane: Int, to sum: inout Tensor, overwrite: Bool, weight: Float,
    hook: (inout Tensor, Int) -> Void
  ) {
    hook(&contribution, lane)
    if weight != 1 { contribution.multiply(by: weight) }
    if overwrite { sum.copy(from: contribution) } else { sum.accumulate(contribution) }
  }
}
