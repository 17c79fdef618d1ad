import Checkpoints
import Settings
import Testing
import Training

/// What a checkpoint holds does not depend on who wrote it, and says where the run stood.
@Suite struct StateTests {
  /// Keys and values have four rows: five ranks are more than they can be divided among.
  static let tiny = """
    model.config={hidden_size: 8, intermediate_size: 6, num_hidden_layers: 1, num_attention_heads: 2, \
    num_key_value_heads: 1, vocab_size: 264, max_position_embeddings: 64, rms_norm_eps: 1.0e-5, \
    tie_word_embeddings: false, architectures: [LlamaForCausalLM]}
    """

  /// Read by any ranks and written by them again, no bit of any tensor is another.
  @Test(arguments: ["replicate", "layers"]) func roundTrip(_ sharding: String) throws {
    let place = try RunPlace()
    let overrides = [
      "training.steps=3", "communication.sharding=\(sharding)", "logging.validate_every=0", "checkpoint.anchor=false",
    ]
    try Runs.finish(place.settings("run", overrides), ranks: 4)
    let before = try place.state("run", 3)
    for ranks in [1, 2, 3, 5] {
      let lines = try Runs.finish(
        place.settings("on-\(ranks)", overrides), ranks: ranks, resume: .from(place("run/checkpoints/step-000003")))
      #expect(lines.contains { $0.contains("resumed at step 3") }, "\(lines)")
      #expect(try place.state("on-\(ranks)", 3) == before, "\(ranks) ranks")
    }
  }

  @Test func moreRanksThanRowsLoseNothing() throws {
    let place = try RunPlace()
    func settings(_ name: String) throws -> RunConfiguration { try place.pretraining(name, [Self.tiny]) }
    try Runs.finish(settings("one"))
    try Runs.finish(settings("five"), ranks: 5)
    try Runs.finish(settings("seven"), ranks: 7, resume: .from(place("five/checkpoints/step-000003")))
    for name in ["five", "seven"] { #expect(try place.state(name, 6) == place.state("one", 6), "\(name)") }

    let container = try TensorContainer(place("five/checkpoints/step-000006"))
    let names = container.tensors.map(\.name)
    let masters = names.filter { $0.hasPrefix("master/") }.map { $0.dropFirst(7) }
    #expect(masters.count == 12, "embedding, head, a norm, four and three matrices and two norms of the layer")
    #expect(names.count == 36)
    for kind in ["moment1/", "moment2/"] { #expect(masters.allSatisfy { names.contains(kind + $0) }) }
    #expect(container.tensors.reduce(0) { $0 + $1.shape.count } == 3 * (2 * 264 * 8 + 8 + Self.layerCount))
    #expect(container.tensors.contains { $0.pieces.count == 5 }, "no tensor is divided among all ranks")
    #expect(container.tensors.contains { $0.pieces.count < 5 }, "every tensor is divided among all ranks")
    #expect(try container.verify().isEmpty)
  }

  /// Queries and outputs, keys and values, gate, up and down, two norms.
  private static let layerCount = 2 * 8 * 8 + 2 * 4 * 8 + 3 * 6 * 8 + 2 * 8

  /// Threads cut files, not content.
  @Test func threadsGiveTheSameContent() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("one"), ranks: 2)
    try Runs.finish(place.settings("three", ["checkpoint.threads=3"]), ranks: 2)
    for step in [3, 6] { #expect(try place.state("three", step) == place.state("one", step)) }
    let files = try TensorContainer(place("three/checkpoints/step-000006")).manifest.files.map(\.name)
    #expect(files == (0..<6).map { "data-0000\($0)-00000.zst" })
    try place.crash("three", after: 3)
    try Runs.finish(place.settings("three", ["checkpoint.threads=4"]), resume: .newest)
    try ResumeTests.expectSameEnd(place, "three", "one")
  }

  @Test func multiplesOfKeepEveryStay() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("run", ["checkpoint={every: 1, keep: 1, keep_every: 2}"]), ranks: 2)
    #expect(place.names("run/checkpoints") == ["step-000002", "step-000004", "step-000006"])
    for step in [2, 4, 6] {
      try TrainingCheckpoint(path: place("run/checkpoints/" + TrainingCheckpointName.of(step: step)))!.verify()
    }
  }
}

/// A resumed run comes again to a step that has a checkpoint.
@Suite struct RevisitedStepTests {
  private let place: RunPlace
  private let before: [String: String]

  init() throws {
    place = try RunPlace()
    try Runs.finish(place.settings())
    before = try place.state("run", 6)
    try place.remove("run/anchor")
  }

  /// From step 3 on; what is there of step 6 then.
  private func goAgain(_ overrides: String...) throws -> (lines: [String], names: [String]) {
    let lines = try Runs.finish(
      place.settings("run", overrides), ranks: 2, resume: .from(place("run/checkpoints/step-000003")))
    #expect(try place.state("run", 6) == before)
    #expect(try place.text("run/latest/manifest.json") == place.text("run/checkpoints/step-000006/manifest.json"))
    return (lines, place.names("run/checkpoints").filter { $0.hasPrefix("step-000006") })
  }

  @Test(arguments: ["", "checkpoint.background=true"]) func whatIsWholeStays(_ override: String) throws {
    let manifest = try place.bytes("run/checkpoints/step-000006/manifest.json")
    let (lines, names) = try goAgain(override.isEmpty ? "checkpoint.keep=9" : override)
    #expect(lines.contains { $0.contains("step-000006 is there already") }, "\(lines)")
    #expect(names == ["step-000006"])
    #expect(try place.bytes("run/checkpoints/step-000006/manifest.json") == manifest, "it is another one")
  }

  @Test func whatDiffersIsSetAside() throws {
    try Runs.finish(place.settings("other", ["training.seed=8"]))
    let other = try place.bytes("other/checkpoints/step-000006/manifest.json")
    try place.remove("run/checkpoints/step-000006")
    try Files.move(place("other/checkpoints/step-000006"), to: place("run/checkpoints/step-000006"))
    let (lines, names) = try goAgain()
    #expect(lines.contains { $0.hasPrefix("saved checkpoint step-000006") }, "\(lines)")
    #expect(names == ["step-000006", "step-000006.superseded"])
    #expect(try place.bytes("run/checkpoints/step-000006.superseded/manifest.json") == other)
  }

  @Test(arguments: ["data-00000-00000.zst", "manifest.json", "config.json"])
  func whatIsDamagedIsSetAside(_ file: String) throws {
    try place.damage("run/checkpoints/step-000006/" + file)
    let (lines, names) = try goAgain()
    #expect(lines.contains { $0.hasPrefix("saved checkpoint step-000006") }, "\(lines)")
    #expect(names == ["step-000006", "step-000006.corrupt"])
  }
}
