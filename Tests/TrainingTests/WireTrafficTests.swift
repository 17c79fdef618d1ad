import Communication
import Settings
import Testing
import Training
import Transformer

/// Bits on the wire, counted where they are sent, for a model whose rows make long runs.
@Suite(.serialized) struct WireTrafficTests {
  static let model = Fixture.model(hidden: 128, feedForward: 256, layers: 2, vocabulary: 64)

  /// Parameters in all, and of the matrices that are quantized.
  static let counts: (all: Int, quantized: Int, layers: Int) = {
    let configuration = try! Fixture.configuration(of: Fixture.run(model: model))
    let layout = ParameterLayout(configuration)
    let layers = layout.units.dropFirst().dropLast().flatMap(\.parameters)
    return (
      layout.all.reduce(0) { $0 + $1.spec.count }, layers.filter { $0.role == .linear }.reduce(0) { $0 + $1.count },
      layers.reduce(0) { $0 + $1.count })
  }()

  /// Traffic of all ranks in the third step.
  static func traffic(
    _ nodes: [Int], _ communication: String, rate: String = "1.0e-4", quantization: String = "{formats: [mxint4]}"
  ) throws -> (gradients: CommunicationStatistics.Flow, weights: CommunicationStatistics.Flow) {
    let ranks = nodes.reduce(0, +)
    let settings = try Fixture.run(
      model: model, steps: 3, batch: 2 * ranks, lanes: 2 * ranks, quantization: quantization,
      communication: "{\(communication), check_every: 0}",
      overrides: ["training.learning_rate=\(rate)", "training.warmup_steps=0", "training.decay=constant"])
    let flows = try Communicator.onThreads(ranks, nodes: NodeMap(sizes: nodes)) { communicator in
      let trainer = try Fixture.trainer(settings, on: communicator, tokens: Fixture.tokens(vocabulary: 64))
      for _ in 0..<2 { _ = try trainer.step() }
      return try trainer.step().traffic
    }
    var gradients = CommunicationStatistics.Flow(), weights = CommunicationStatistics.Flow()
    for flow in flows {
      gradients.bytesSent += flow.gradients.bytesSent
      gradients.bytesBetweenNodes += flow.gradients.bytesBetweenNodes
      weights.bytesSent += flow.weights.bytesSent
      weights.bytesBetweenNodes += flow.weights.bytesBetweenNodes
    }
    return (gradients, weights)
  }

  /// Bits of one copy of everybody's messages, per parameter; every message goes to all others.
  private func bits(_ bytes: Int, to others: Int, per parameters: Int, dense: Int = 0) -> Double {
    8 * Double(bytes / others - 4 * dense) / Double(parameters)
  }

  @Test func anchorTakesItsCodes() throws {
    let counts = Self.counts
    #expect(counts.quantized > 100_000)
    for ranks in [2, 4] {
      let sent = try Self.traffic([ranks], "weights: anchor").weights.bytesSent
      let found = bits(sent, to: ranks - 1, per: counts.quantized, dense: counts.all - counts.quantized)
      print("anchor on \(ranks) ranks: \(found) bits a quantized weight")
      #expect(found > 8.2 && found <= 8.3)
    }
  }

  /// One place for two layers and two passes: 1, 2 and 1 again in the first, then 2 and 1, five layers in all.
  /// Embedding and head of a tied model stay.
  @Test func layersTakeFiveHalves() throws {
    let counts = Self.counts, dense = counts.all - counts.layers + 5 * (counts.layers - counts.quantized) / 2
    let sent = try Self.traffic([2], "weights: anchor, sharding: layers").weights.bytesSent
    let found = bits(sent, to: 1, per: counts.quantized, dense: dense)
    print("anchor, sharding layers, two passes: \(found) bits a quantized weight and step")
    #expect(found > 2.5 * 8.2 && found <= 2.5 * 8.3)
  }

  @Test func differencesTakeFourBits() throws {
    for ranks in [2, 4] {
      let sent = try Self.traffic([ranks], "weights: delta").weights.bytesSent
      let found = bits(sent, to: ranks - 1, per: Self.counts.all)
      print("delta on \(ranks) ranks: \(found) bits a parameter")
      #expect(found > 4 && found <= 4.1)
    }
  }

  @Test func differencesOfCodesTakeWhatChanged() throws {
    let counts = Self.counts
    var last = 0.0
    for (rate, bound) in [("1.0e-6", 0.5), ("1.0e-4", 2.5), ("1.0e-2", 8.3)] {
      let sent = try Self.traffic([2], "weights: code_delta", rate: rate).weights.bytesSent
      let found = bits(sent, to: 1, per: counts.quantized, dense: counts.all - counts.quantized)
      print("code_delta at rate \(rate): \(found) bits a quantized weight")
      #expect(found > last && found <= bound)
      last = found
    }
  }

  /// What one node sends to another: its sum of everything the other owns.
  @Test(arguments: [[2, 2], [1, 1], [1, 1, 1, 1], [2, 2, 2]]) func twoLevelBetweenNodes(_ nodes: [Int]) throws {
    let flow = try Self.traffic(nodes, "gradients: two_level").gradients
    let between = bits(flow.bytesBetweenNodes, to: nodes.count - 1, per: Self.counts.all)
    let all = nodes.reduce(0, +), within = flow.bytesSent - flow.bytesBetweenNodes
    print("two_level on \(nodes): \(between) bits a parameter between nodes")
    #expect(between > 4.2 && between <= 4.3)
    if nodes[0] == 1 {
      #expect(within == 0)
    } else {
      // All ranks of a node but the one that adds send 8 bits of everything to it.
      let local = 8 * Double(within) / Double(Self.counts.all * (all - nodes.count))
      print("two_level on \(nodes): \(local) bits a parameter within nodes")
      #expect(local > 8.2 && local <= 8.3)
    }
  }

  @Test(arguments: [("fp32", 32.0, 32.0), ("bf16", 16, 16), ("int8", 8.2, 8.3), ("two_level", 8.2, 8.3)])
  func onOneNode(gradients: String, least: Double, most: Double) throws {
    let flow = try Self.traffic([4], "gradients: \(gradients)").gradients
    let found = bits(flow.bytesSent, to: 3, per: Self.counts.all)
    #expect(found >= least && found <= most, "\(gradients): \(found)")
    #expect(flow.bytesBetweenNodes == 0)
  }

  /// Weights cross between nodes once a node, not once a rank.
  @Test func nodesGetWeightsOnce() throws {
    let counts = Self.counts
    let flow = try Self.traffic([2, 2], "weights: anchor").weights
    let found = bits(flow.bytesBetweenNodes, to: 1, per: counts.quantized, dense: counts.all - counts.quantized)
    #expect(found > 8.2 && found <= 8.3, "\(found)")
  }
}
