public import Tensors

/// What the codes of past steps lost on this rank, in the rotated domain: it is added to the next step's values before they
/// are rounded, so that nothing is lost for good (error feedback; Seide et al. 2014, Karimireddy et al. 2019).
///
/// It is state: a resumed run needs it for the same bits. It belongs to this rank's place among the ranks and nodes.
public final class GradientFeedback {
  /// Per unit: of the rows that are sent from here in the first hop, shard after shard in the order of ranks.
  let first: [TensorBox]
  /// Per unit, on two levels: of the node's sums for this rank's place on other nodes.
  let second: [TensorBox]

  init(_ units: [RowShards], _ wire: GradientWire, _ rank: Int, _ topology: Topology, in arena: Arena) {
    let codec = WireValues.coded(GradientWire.intraCodec)
    var first: [TensorBox] = [], second: [TensorBox] = []
    for unit in units {
      let counts = (0..<unit.ranks).map { ShardSegments(unit, rank: $0, codec).sumCount }
      let all = counts.reduce(0, +)
      var column = 0
      // With one rank a node as well: there the second hop is the only one, and it is the one that loses most.
      if wire == .twoLevel, topology.map.nodeCount > 1 {
        for node in 0..<topology.map.nodeCount { column += counts[topology.rank(node: node, place: topology.place)] }
      }
      let sends = wire == .int8 || wire == .twoLevel
      first.append(TensorBox(rows: 1, columns: sends ? all : 0, in: arena))
      second.append(TensorBox(rows: 1, columns: column, in: arena))
    }
    self.first = first
    self.second = second
  }

  /// Every buffer with a name, for checkpoints.
  public func forEach(_ body: (_ name: String, _ values: inout Tensor) throws -> Void) rethrows {
    for unit in first.indices {
      try body("unit.\(unit).first", &first[unit].values)
      try body("unit.\(unit).second", &second[unit].values)
    }
  }
}
