import Communication
import Settings
import Tensors
import Testing
import Training
import Transformer

/// A number that is none on one rank stops all of them in the same step, and the last good state is saved.
@Suite(.serialized) struct OneRankNotFiniteTests {
  static let wires = [
    "gradients: exact", "gradients: exact, sharding: layers", "gradients: exact, overlap: false",
    "gradients: two_level", "gradients: two_level, error_feedback: true, weights: code_delta",
    "gradients: two_level, sharding: layers", "gradients: int8, error_feedback: true", "gradients: bf16, weights: fp32",
  ]
  static let nodes = NodeMap(sizes: [2, 2])

  private func expectStop(
    _ ends: [RankEnd], at step: Int, _ place: RunPlace, _ overrides: [String],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    #expect(ends.allSatisfy { $0.isCollective && $0.notFiniteStep == step }, "\(ends)", sourceLocation: sourceLocation)
    #expect(ends.count { $0.speaks } == 1, sourceLocation: sourceLocation)
    let name = TrainingCheckpointName.of(step: step - 1)
    #expect(place.names("run/checkpoints") == [name], sourceLocation: sourceLocation)
    try TrainingCheckpoint(path: place("run/checkpoints/" + name))!.verify()
    // It is the state of a run that ends before the step.
    try Runs.finish(
      place.settings("shorter", overrides + ["training.steps=\(step - 1)", "training.decay=constant"]), ranks: 4,
      nodes: Self.nodes)
    // What the failing step has put into error feedback is in no checkpoint.
    let good = try place.state("shorter", step - 1).filter { !$0.key.hasPrefix("feedback/") }
    #expect(try place.state("run", step - 1) == good, sourceLocation: sourceLocation)
  }

  /// One rank's own copy of a norm's weights is damaged before the fourth step uses it.
  @Test(arguments: wires) func aWeightOfOneRank(_ wire: String) throws {
    let place = try RunPlace()
    let overrides = [
      "communication={\(wire), check_every: 0}", "checkpoint={every: 0, anchor: false}", "logging.validate_every=0",
      "training.decay=constant",
    ]
    let settings = try place.settings("run", overrides)
    let ends = try Runs.ends(ranks: 4, nodes: Self.nodes) { run in
      guard run.trainer.communicator.rank == 2 else { return }
      let trainer = run.trainer
      trainer.onArrival = { [unowned trainer] unit in
        guard trainer.stepsDone == 3, unit == 2 else { return }
        let weights = trainer.currentWeights.units[unit]
        let norm = weights.layout.parameters.first { $0.role == .norm }!
        var region = weights.flat.region(norm.offset, rows: norm.rows, columns: norm.columns)
        var values = region.mutableSpan
        values[1] = .nan
      }
    } _: { _ in settings }
    try expectStop(ends, at: 4, place, overrides)
  }

  /// One sequence has a token whose embedding is not a number: the lane that draws it is one rank's.
  @Test(arguments: wires) func anActivationOfOneRank(_ wire: String) throws {
    let place = try RunPlace(tied: false) { values, spec in
      guard spec.name == "model.embed_tokens.weight" else { return }
      let row = 90  // "Z", which no word has
      for i in row * spec.columns..<(row + 1) * spec.columns { values[i] = .nan }
    }
    // Windows are drawn in order, 192 tokens a step: the letter is in the third or the fourth.
    var text = RunPlace.text(seed: 1, words: 1200)
    text.insert("Z", at: text.index(text.startIndex, offsetBy: 800))
    try place.write(text, "train.txt")
    let overrides = [
      "communication={\(wire), check_every: 0}", "checkpoint={every: 0, anchor: false}", "logging.validate_every=0",
      "training.decay=constant", "data.shuffle=false",
    ]
    let settings = try place.settings("run", overrides)
    let ends = try Runs.ends(ranks: 4, nodes: Self.nodes) { _ in settings }
    let step = try #require(ends[0].notFiniteStep, "\(ends)")
    #expect(step > 1 && step < 6)
    try expectStop(ends, at: step, place, overrides)
  }
}
