public import Tensors

/// The memory through which units pass on their way between ranks, laid out once and used by one exchange at a time.
///
/// For one rank it is empty: nothing is staged there.
public final class ShardStaging {
  /// Rank-major copy of the largest unit: fp32, or the bytes of a block format.
  var packed: Tensor
  /// Contributions of all ranks to the largest shard, one after another.
  var arrived: Tensor
  var sendCounts: HostBuffer<Int64>
  var receiveCounts: HostBuffer<Int64>
  let ranks: Int

  /// Room for any of `units`, which are all divided over the same ranks.
  public init(for units: [RowShards], in arena: Arena) {
    precondition(!units.isEmpty, "staging for no unit")
    ranks = units[0].ranks
    for unit in units { precondition(unit.ranks == ranks, "units over \(unit.ranks) and \(ranks) ranks") }
    let largest = ranks == 1 ? 0 : units.map(\.elementCount).max()!
    let widest = ranks == 1 ? 0 : units.map(\.widestShard).max()!
    packed = Tensor(rows: 1, columns: largest, in: arena)
    arrived = Tensor(rows: ranks, columns: widest, in: arena)
    sendCounts = HostBuffer(count: ranks, in: arena)
    receiveCounts = HostBuffer(count: ranks, in: arena)
  }

  func check(_ unit: RowShards, on communicator: Communicator) {
    precondition(unit.ranks == communicator.size && ranks == communicator.size,
      "a unit over \(unit.ranks) ranks, staging for \(ranks), on a communicator of \(communicator.size)")
    precondition(ranks == 1 || unit.elementCount <= packed.count && unit.widestShard <= arrived.columns,
      "a unit of \(unit.elementCount) elements, shards up to \(unit.widestShard), in staging for "
        + "\(packed.count) and \(arrived.columns)")
  }
}
