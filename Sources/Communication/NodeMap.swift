#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Which rank runs on which node (ranks that share memory), and which of that node's ranks it is.
public struct NodeMap: Sendable, Hashable {
  /// Node of every rank; nodes are numbered by their lowest rank.
  public let nodes: [Int]
  /// Place of every rank among its node's, in the order of ranks.
  public let locals: [Int]
  public let nodeCount: Int

  /// - Parameter labels: anything that is equal for ranks of one node, by rank.
  public init<Label: Hashable>(labels: [Label]) {
    var numbers: [Label: Int] = [:]
    var sizes: [Int] = []
    var nodes: [Int] = [], locals: [Int] = []
    for label in labels {
      let node = numbers[label] ?? sizes.count
      if node == sizes.count {
        numbers[label] = node
        sizes.append(0)
      }
      nodes.append(node)
      locals.append(sizes[node])
      sizes[node] += 1
    }
    self.nodes = nodes
    self.locals = locals
    nodeCount = sizes.count
  }

  /// Consecutive ranks: the first `sizes[0]` on one node, and so on.
  public init(sizes: [Int]) {
    self.init(labels: sizes.enumerated().flatMap { Array(repeating: $0.offset, count: $0.element) })
  }

  public var rankCount: Int { nodes.count }

  /// Ranks of a node, in their order.
  public func ranks(onNode node: Int) -> [Int] { nodes.indices.filter { nodes[$0] == node } }

  /// Ranks of every node.
  public var sizes: [Int] { (0..<nodeCount).map { node in nodes.count { $0 == node } } }

  /// Whether every node has as many ranks: what messages between equal places of all nodes need.
  public var isEven: Bool { Set(sizes).count == 1 }

  /// "3 nodes of 2 ranks", "nodes of 3, 2 ranks".
  public var description: String {
    let count = sizes[0]
    if isEven {
      return "\(nodeCount) node\(nodeCount == 1 ? "" : "s") of \(count) rank\(count == 1 ? "" : "s")"
    }
    return "nodes of " + sizes.map(String.init).joined(separator: ", ") + " ranks"
  }

  // MARK: A map by hand

  /// The variable that replaces the nodes found: ranks of each node, as in `2,2`. For trying several nodes on one machine.
  public static let variable = "MFQAT_NODES"

  /// The map that the environment asks for; nil where it asks for none.
  ///
  /// - Throws: `CommunicationError` if it does not add up to `ranks`.
  static func fromEnvironment(ranks: Int) throws(CommunicationError) -> NodeMap? {
    guard let value = unsafe getenv(variable).map({ unsafe String(cString: $0) }), !value.isEmpty else { return nil }
    return try NodeMap(text: value, ranks: ranks)
  }

  package init(text: String, ranks: Int) throws(CommunicationError) {
    let sizes = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
    let found = sizes.compactMap { $0 }
    guard found.count == sizes.count, found.allSatisfy({ $0 > 0 }), found.reduce(0, +) == ranks else {
      throw CommunicationError(
        call: Self.variable, rank: -1, size: ranks, found: "'\(text)' does not describe the nodes of \(ranks) ranks",
        hint: "Write the ranks of each node, as in \(ranks > 1 ? "\(ranks - ranks / 2),\(ranks / 2)" : "1")")
    }
    self.init(sizes: found)
  }
}
