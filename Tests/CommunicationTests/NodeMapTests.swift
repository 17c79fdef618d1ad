import Communication
import Testing

/// Which ranks share a node, as found and as said by hand.
@Suite struct NodeMapTests {
  @Test func nodesAreNumberedByTheirLowestRank() {
    let map = NodeMap(labels: ["b", "a", "b", "c", "a"])
    #expect(map.nodes == [0, 1, 0, 2, 1])
    #expect(map.locals == [0, 0, 1, 0, 1])
    #expect(map.nodeCount == 3 && map.rankCount == 5)
    #expect(map.sizes == [2, 2, 1])
    #expect((0..<3).map(map.ranks(onNode:)) == [[0, 2], [1, 4], [3]])
    #expect(!map.isEven)
    #expect(map.description == "nodes of 2, 2, 1 ranks")
  }

  @Test func evenMapsSaySo() {
    #expect(NodeMap(sizes: [3, 3]).isEven && NodeMap(sizes: [1]).isEven && NodeMap(labels: [0, 1, 0, 1]).isEven)
    #expect(!NodeMap(sizes: [2, 1]).isEven)
    #expect(NodeMap(sizes: [3, 3]).description == "2 nodes of 3 ranks")
    #expect(NodeMap(sizes: [1]).description == "1 node of 1 rank")
    #expect(NodeMap(sizes: [1, 1]).description == "2 nodes of 1 rank")
    #expect(NodeMap(sizes: [2, 2]) == NodeMap(labels: [7, 7, 3, 3]))
    #expect(NodeMap(sizes: [2, 2]) != NodeMap(labels: [0, 1, 0, 1]))
  }

  @Test(arguments: [("2,2", [2, 2]), ("4", [4]), ("1,3", [1, 3]), ("1,1,1,1", [1, 1, 1, 1])])
  func textsOfFourRanks(_ text: String, _ sizes: [Int]) throws {
    #expect(try NodeMap(text: text, ranks: 4) == NodeMap(sizes: sizes))
  }

  @Test(arguments: ["2", "2,3", "2,2,0", "5,-1", "2,2,", ",4", "2 2", "2x2", "two,two", ",", "", "4.0"])
  func textsThatDoNotDescribeFourRanks(_ text: String) {
    let error = #expect(throws: CommunicationError.self) { try NodeMap(text: text, ranks: 4) }
    #expect(error?.description
      == "MFQAT_NODES: '\(text)' does not describe the nodes of 4 ranks. Write the ranks of each node, as in 2,2")
  }

  @Test func hintsFitTheJob() {
    #expect(throws: CommunicationError.self) { try NodeMap(text: "2", ranks: 1) }
    for (ranks, example) in [(1, "1"), (3, "2,1"), (8, "4,4")] {
      let error = #expect(throws: CommunicationError.self) { try NodeMap(text: "no", ranks: ranks) }
      #expect(error?.hint.hasSuffix("as in \(example)") == true)
      #expect(throws: Never.self) { try NodeMap(text: example, ranks: ranks) }
    }
  }
}
