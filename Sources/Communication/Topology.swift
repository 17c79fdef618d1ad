/// The nodes of a job, and the communicators along them.
///
///   local   the ranks of this rank's node
///   cross   the ranks with this rank's place on every node, in the order of nodes; nil on uneven nodes
public struct Topology {
  public let map: NodeMap
  public let local: Communicator
  public let cross: Communicator?
  /// This rank's node.
  public let node: Int
  /// This rank's place on its node.
  public let place: Int

  /// Whether messages can go in two hops, within nodes and between them, that are both real.
  public var hasTwoLevels: Bool { cross.map { $0.size > 1 && local.size > 1 } ?? false }

  /// The rank with a place on a node. The nodes are even.
  func rank(node: Int, place: Int) -> Int { ranks[node][place] }

  private let ranks: [[Int]]

  /// Collective.
  init(_ world: Communicator, _ map: NodeMap) throws(CommunicationError) {
    self.map = map
    node = map.nodes[world.rank]
    place = map.locals[world.rank]
    ranks = (0..<map.nodeCount).map(map.ranks(onNode:))
    local = try world.split(color: node, key: world.rank)
    let across = try world.split(color: place, key: node)
    cross = map.isEven ? across : nil
    world.nodes = map.nodes
    local.nodes = map.ranks(onNode: node).map { _ in node }
    across.nodes = map.nodes.indices.filter { map.locals[$0] == place }.map { map.nodes[$0] }.sorted()
  }
}

extension Communicator {
  /// "3 nodes of 2 ranks".
  public var nodeDescription: String { topology?.map.description ?? "" }
}
