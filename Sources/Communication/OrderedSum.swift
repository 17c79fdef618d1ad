public import Tensors

/// A sum of doubles over ranks whose bits do not depend on the number of ranks.
///
/// Every summand has a slot, numbered globally (a row of the model for the gradient norm, a sequence of the batch for
/// the loss), and one rank that fills it. `total()` brings all slots to every rank (exact: the other ranks hold 0 there)
/// and adds them in ascending order of slots.
///
///     norm.place(sums, of: unit, at: firstRowOfUnit)      // per-row sums of squares of the owned rows
///     let squared = try norm.total()
public final class OrderedSum {
  private var slots: HostBuffer<Double>
  private let communicator: Communicator

  public init(slots: Int, on communicator: Communicator, in arena: Arena) {
    self.slots = HostBuffer(count: slots, in: arena)
    self.communicator = communicator
  }

  public var slotCount: Int { slots.count }

  /// Fills a slot. One rank per slot; a slot that nobody fills counts 0.
  public func place(_ value: Double, at slot: Int) { slots[slot] = value }

  /// Adds to a slot, for summands that come in parts: several passes over one sequence.
  public func add(_ value: Double, at slot: Int) { slots[slot] += value }

  /// Fills the slots of this rank's rows of `unit` from one value per owned row, in shard order; the unit's row 0 has
  /// slot `first`.
  public func place(_ perRow: borrowing HostBuffer<Double>, of unit: RowShards, at first: Int) {
    let rank = communicator.rank
    precondition(unit.ranks == communicator.size, "a unit over \(unit.ranks) ranks on \(communicator.size)")
    precondition(perRow.count >= unit.rowCount(ofRank: rank),
      "rank \(rank): \(perRow.count) values for \(unit.rowCount(ofRank: rank)) rows")
    for run in unit.runs(ofRank: rank) {
      for row in 0..<run.rows.count { slots[first + run.firstRow + row] = perRow[run.shardRow + row] }
    }
  }

  /// All slots as they are now, on every rank; they stay. Collective.
  public func slotsOfAllRanks() throws(CommunicationError) -> [Double] {
    var all = HostBuffer<Double>(count: slots.count, in: Arena("slots of a sum"))
    for slot in 0..<slots.count { all[slot] = slots[slot] }
    try communicator.sumDisjoint(&all)
    return (0..<slots.count).map { all[$0] }
  }

  /// The sum of all slots in ascending order, the same bits on every rank. Leaves every slot 0 for the next sum.
  public func total() throws(CommunicationError) -> Double {
    try communicator.sumDisjoint(&slots)
    var sum = 0.0
    for slot in 0..<slots.count {
      sum += slots[slot]
      slots[slot] = 0
    }
    return sum
  }
}
