import Checkpoints
import Settings
import Testing
import Training

/// Where in its text a run stood: epochs that end within a run and within a step, steps of several micro-steps.
@Suite struct PositionTests {
  static let settings = [
    "training={steps: 6, batch: 12, lanes: 4, accumulation: 3, learning_rate: 3.0e-3, warmup_steps: 1, seed: 7}",
    "checkpoint={every: 1, keep: 9, anchor: false}",
  ]

  /// A text of fewer windows than two steps have sequences.
  private func shortText() throws -> RunPlace {
    let place = try RunPlace()
    try place.write(RunPlace.text(seed: 3, words: 135), "train.txt")
    return place
  }

  private func position(_ place: RunPlace, _ step: Int) throws -> (epoch: Int, sample: Int) {
    let container = try TensorContainer(place("whole/checkpoints/" + TrainingCheckpointName.of(step: step)))
    let position = try #require(container.metadata["position"])
    return (try #require(position["epoch"]?.integer), try #require(position["sample_of_epoch"]?.integer))
  }

  @Test func resumedAtEveryStep() throws {
    let place = try shortText()
    try Runs.finish(place.settings("whole", Self.settings), ranks: 2)
    let places = try (1...6).map { try position(place, $0) }
    #expect(Set(places.map(\.epoch)).count > 2, "\(places): few epochs end")
    #expect(places.contains { $0.epoch > 0 && $0.sample % 12 != 0 }, "\(places): none ends within a step")
    for step in 1...5 {
      let name = "from-\(step)"
      try Runs.finish(
        place.settings(name, Self.settings), ranks: (step - 1) % 3 + 1,
        resume: .from(place("whole/checkpoints/" + TrainingCheckpointName.of(step: step))))
      for later in step + 1...6 {
        #expect(try place.state(name, later) == place.state("whole", later), "from \(step) to \(later)")
      }
      let lines = try place.metrics(name)
      #expect(lines == Array(try place.metrics("whole").suffix(lines.count)) && lines.count >= 6 - step)
    }
  }

  /// What decides the order of the text, by name.
  @Test(arguments: [
    ("training.seed=8", "training.seed is 8 now and 7"), ("training.batch=24", "training.batch is 24 now and 12"),
    ("training.accumulation=1", "training.accumulation is 1 now and 3"),
    ("training.lanes=2", "training.lanes is 2 now and 4"),
    ("data.shuffle=false", "data.shuffle is false now and true"), ("data.context=8", "data.context is 8 now and 16"),
  ])
  func anotherOrderIsRefused(_ override: String, _ words: String) throws {
    let place = try shortText(), short = Self.settings + ["training.steps=2"]
    try Runs.finish(place.settings("run", short))
    try Runs.expectRefusal(
      words, "step-000002", "Set it back", resume: .newest, of: place.settings("run", short + [override]))
  }

  @Test(arguments: ["tokens", "epoch", "sample_of_epoch", "next_window", "next_format", "lanes"])
  func anotherPlaceIsRefused(_ key: String) throws {
    let place = try shortText(), settings = try place.settings("run", Self.settings + ["training.steps=2"])
    try Runs.finish(settings)
    try place.editManifest("run/checkpoints/step-000002/manifest.json") { object in
      var metadata = object["metadata"]!.object!, position = metadata["position"]!.object!
      position[key] = position[key]!.integer.map { .integer($0 + 1) } ?? "mxfp4"
      metadata["position"] = .object(position)
      object["metadata"] = .object(metadata)
    }
    let before = place.names("run/checkpoints")
    try Runs.expectRefusal("step 2 stands at another place of the text", resume: .newest, of: settings)
    #expect(place.names("run/checkpoints") == before)
  }
}
