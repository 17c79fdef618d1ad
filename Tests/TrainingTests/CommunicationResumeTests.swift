import Checkpoints
import Communication
import Settings
import Testing
import Training

/// Runs whose communication has state go on with the same bits on the same ranks and nodes, and go on at all on others.
@Suite(.serialized) struct CommunicationResumeTests {
  static let twoByTwo = NodeMap(sizes: [2, 2])
  static let fast = "communication={gradients: two_level, weights: delta, error_feedback: true, check_every: 1}"

  /// What a step leaves: masters, moments, replica, feedback of every rank.
  static func expectSameState(
    _ place: RunPlace, _ a: String, _ b: String, step: Int = 6, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let (first, second) = (try place.state(a, step), try place.state(b, step))
    let different = Set(first.keys).union(second.keys).filter { first[$0] != second[$0] }.sorted()
    #expect(different.isEmpty, "\(different)", sourceLocation: sourceLocation)
  }

  /// A validation comes before saving and lets weights travel: with it and without, a run passes other states.
  @Test(arguments: [3, 0], ["", ", sharding: replicate, overlap: false"])
  func replicaAndFeedback(validateEvery: Int, more: String) throws {
    let place = try RunPlace()
    let overrides = [Self.fast.replacing("}", with: more + "}"), "logging.validate_every=\(validateEvery)"]
    try Runs.finish(place.settings("whole", overrides), ranks: 4, nodes: Self.twoByTwo)
    try Runs.finish(place.settings("run", overrides), ranks: 4, nodes: Self.twoByTwo)
    let kinds = Set(try place.state("run", 3).keys.filter { $0.hasSuffix(" byte0") }.map { $0.split(separator: "/").prefix(2) })
    for rank in ["0", "1", "2", "3"] { #expect(kinds.contains { $0 == ["feedback", rank[...]] }) }
    for kind in ["master", "moment1", "moment2", "replica"] { #expect(kinds.contains { $0[0] == kind }) }
    try place.crash("run", after: 3)
    let lines = try Runs.finish(place.settings("run", overrides), ranks: 4, nodes: Self.twoByTwo, resume: .newest)
    #expect(lines.contains { $0.contains("resumed at step 3") }, "\(lines)")
    try ResumeTests.expectSameEnd(place, "run", "whole")
    try Self.expectSameState(place, "run", "whole")
  }

  /// Neither does a validation between two steps change the next one, nor saving.
  @Test(arguments: ["weights: delta", "weights: code_delta", "weights: bf16", "weights: delta, gradients: int8"])
  func validatingAndSavingChangeNothing(_ communication: String) throws {
    let place = try RunPlace()
    func run(_ name: String, _ more: String...) throws {
      let overrides = ["communication={\(communication), check_every: 1}"] + more
      try Runs.finish(place.settings(name, overrides), ranks: 2)
    }
    try run("neither", "logging.validate_every=0", "checkpoint.every=0")
    try run("both", "logging.validate_every=1", "checkpoint.every=1")
    try run("saved", "logging.validate_every=0", "checkpoint.every=2")
    try run("validated", "logging.validate_every=2", "checkpoint.every=0")
    for name in ["both", "saved", "validated"] { try Self.expectSameState(place, name, "neither") }
  }

  /// Feedback of other ranks fits nowhere and begins at zero; masters, moments and the replica go on.
  @Test(arguments: [[2], [3], [1, 1, 1, 1], [1], [3, 3]]) func otherRanksGoOn(_ sizes: [Int]) throws {
    let place = try RunPlace()
    let settings = try place.settings("run", [Self.fast])
    try Runs.finish(settings, ranks: 4, nodes: Self.twoByTwo)
    let before = try place.metrics("run")
    try place.crash("run", after: 3)
    try Runs.finish(settings, ranks: sizes.reduce(0, +), nodes: NodeMap(sizes: sizes), resume: .newest)
    let after = try place.metrics("run")
    #expect(after.count == before.count && Array(after.prefix(5)) == Array(before.prefix(5)))
    let name = TrainingCheckpointName.of(step: 6)
    try TrainingCheckpoint(path: place("run/checkpoints/" + name))!.verify()
    func loss(_ lines: [String]) -> Double {
      let line = lines.last { $0.hasPrefix("{\"step\":6,\"tokens\"") }!
      return Double(line.split(separator: "\"loss\":")[1].prefix { $0 != "," })!
    }
    #expect(abs(loss(after) - loss(before)) < 0.05, "\(loss(after)) and \(loss(before))")
  }

  /// Ways of exact weights change no bit, so that differences of codes go on as an uninterrupted run of any kind.
  @Test(arguments: [3, 0]) func codeDifferences(validateEvery: Int) throws {
    let place = try RunPlace()
    let overrides = ["logging.validate_every=\(validateEvery)"]
    try Runs.finish(place.settings("whole", overrides))
    let settings = try place.settings("run", overrides + ["communication={weights: code_delta, check_every: 1}"])
    try Runs.finish(settings, ranks: 2)
    try place.crash("run", after: 3)
    try Runs.finish(settings, ranks: 3, resume: .newest)
    try ResumeTests.expectSameEnd(place, "run", "whole")
  }

  @Test func layersGoOnAsWell() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("whole"))
    let settings = try place.settings("run", ["communication.sharding=layers", "training.recompute=layers"])
    try Runs.finish(settings, ranks: 3)
    try place.crash("run", after: 3)
    try Runs.finish(settings, ranks: 2, resume: .newest)
    try ResumeTests.expectSameEnd(place, "run", "whole")
  }

  @Test(arguments: ["replica/model.layers.1.mlp.up_proj.weight", "feedback/2/unit.1.first"])
  func damagedStateIsPassedOver(_ tensor: String) throws {
    let place = try RunPlace()
    let settings = try place.settings("run", [Self.fast])
    try Runs.finish(settings, ranks: 4, nodes: Self.twoByTwo)
    try place.remove("run/anchor")
    let container = try TensorContainer(place("run/checkpoints/step-000006"))
    let chunk = try container.requireTensor(tensor).pieces[0].planes[2].chunks[0]
    try place.damage("run/checkpoints/step-000006/" + container.manifest.files[chunk.file].name, byte: chunk.offset + 20)
    let lines = try Runs.finish(settings, ranks: 4, nodes: Self.twoByTwo, resume: .newest)
    #expect(lines.contains { $0.contains("refused") && $0.contains("step-000006") }, "\(lines)")
    #expect(lines.contains { $0.contains("resumed at step 3") }, "\(lines)")
  }

  // MARK: Which keys may change

  @Test func whatDecidesNoNumberMayChange() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("whole"))
    try Runs.finish(place.settings(), ranks: 2)
    try place.crash("run", after: 3)
    try Runs.finish(
      place.settings(
        "run",
        [
          "communication.overlap=false", "communication.check_every=1", "communication.watchdog_seconds=0",
          "training.recompute=layers",
        ]), ranks: 2, resume: .newest)
    try ResumeTests.expectSameEnd(place, "run", "whole")
  }

  @Test(arguments: [
    ("communication.gradients=int8", "communication.gradients is int8 now and exact in the checkpoint"),
    ("communication.weights=fp32", "communication.weights is fp32 now and auto in the checkpoint"),
    ("communication.weights=delta", "communication.weights is delta now and auto in the checkpoint"),
    ("communication.sharding=layers", "communication.sharding is layers now and replicate in the checkpoint"),
    ("communication.rounding=nearest", "communication.rounding is nearest now and stochastic in the checkpoint"),
  ])
  func theWiresMayNot(_ override: String, _ words: String) throws {
    let place = try RunPlace()
    try Runs.finish(place.settings())
    try Runs.expectRefusal(words, "step-000006", resume: .newest, of: place.settings("run", [override]))
  }

  @Test func neitherMayErrorFeedback() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("run", ["communication.gradients=int8"]), ranks: 2)
    try Runs.expectRefusal(
      "communication.error_feedback is true now and false in the checkpoint", resume: .newest,
      of: place.settings("run", ["communication={gradients: int8, error_feedback: true}"]))
  }
}
