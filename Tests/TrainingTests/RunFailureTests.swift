import Checkpoints
import Communication
import Foundation
import Settings
import Testing
import Training
import Transformer

/// What happens to a run in its middle: numbers that are none, a disk that is full. Nothing saved is lost, no rank hangs.
@Suite struct RunFailureTests {
  /// The rate is so large that the first update ruins the model: the second step is not finite.
  @Test(arguments: [1, 3]) func lossThatIsNotFinite(ranks: Int) throws {
    let place = try RunPlace()
    let overrides = [
      "training.learning_rate=1.0e30", "training.warmup_steps=0", "checkpoint.every=0", "training.decay=constant",
    ]
    let settings = try place.settings("run", overrides)
    let ends = try Runs.ends(ranks: ranks) { _ in settings }
    let failed = try #require(ends[0].notFiniteStep ?? ends.compactMap(\.notFiniteStep).first, "\(ends)")
    #expect(failed > 1, "the first step is of the starting model")
    #expect(ends.allSatisfy { $0.isCollective && $0.notFiniteStep == failed }, "all stop in the same step")
    #expect(ends.count { $0.speaks } == 1)
    #expect(ends[0].error!.contains("step \(failed):") && ends[0].error!.contains("training.learning_rate"))

    // The good steps are on record; the state after the last of them is saved and verifies.
    let metrics = try place.metrics("run")
    #expect(metrics.count == failed - 1 && metrics.allSatisfy { $0.hasPrefix("{\"step\":") }, "\(metrics)")
    let name = TrainingCheckpointName.of(step: failed - 1)
    #expect(place.names("run/checkpoints") == [name])
    try TrainingCheckpoint(path: place("run/checkpoints/" + name))!.verify()
    #expect(!place.exists("run/anchor"))

    // It is the state before the failing step: that of a run in which nothing comes after.
    try Runs.finish(place.settings("shorter", overrides + ["training.steps=\(failed - 1)", "checkpoint.anchor=false"]))
    #expect(try place.state("run", failed - 1) == place.state("shorter", failed - 1))
    // Resumed, it fails again at the same step and loses nothing.
    let again = try Runs.ends(ranks: 2, resume: .newest) { _ in settings }
    #expect(again.allSatisfy { $0.notFiniteStep == failed })
    #expect(try place.metrics("run") == metrics)
    #expect(place.names("run/checkpoints") == [name])
  }

  @Test func modelWithNaN() throws {
    let place = try RunPlace { values, spec in
      if spec.name == "model.layers.1.mlp.down_proj.weight" { values[77] = .nan }
    }
    for overrides in [[], ["quantization.objective=full_precision"]] {
      let settings = try place.settings("run\(overrides.count)", overrides)
      let ends = try Runs.ends(ranks: 2) { _ in settings }
      #expect(ends.allSatisfy { $0.isCollective && $0.notFiniteStep == 1 }, "\(ends)")
      #expect(place.names("run\(overrides.count)/checkpoints").isEmpty, "the starting model holds that state")
    }
  }

  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)"), arguments: [1, 2])
  func fullDisk(ranks: Int) throws {
    let disk = try SmallDisk(mebibytes: 2)
    let place = try RunPlace()
    let run = try RunPlace(at: disk.path + "/place")
    try run.remove("model")
    // A checkpoint takes about 0.9 MiB: there is room for two.
    let settings = try place.settings(
      "run", ["logging.directory=\(run("run"))", "checkpoint={every: 1, on_failure: stop}", "logging.validate_every=0"])
    let ends = try Runs.ends(ranks: ranks) { _ in settings }
    #expect(ends.allSatisfy { $0.isCollective } && ends.count { $0.speaks } == 1, "\(ends)")
    let text = try #require(ends[0].error)
    #expect(text.contains("No space left on device") && text.contains("step-000003.tmp-"), "\(text)")
    #expect(text.contains("Free space"))
    #expect(run.names("run/checkpoints") == ["step-000001", "step-000002"], "no half checkpoint, under no name")
    for step in 1...2 { try TrainingCheckpoint(path: run("run/checkpoints/step-00000\(step)"))!.verify() }
    #expect(try run.metrics("run").count == 3)

    // With room again the run goes on to the same end.
    try run.remove("run/checkpoints/step-000001")
    try Runs.finish(
      place.settings(
        "run",
        [
          "logging.directory=\(run("run"))", "checkpoint.every=0", "checkpoint.anchor=false",
          "logging.validate_every=0",
        ]),
      resume: .newest)
    try Runs.finish(place.settings("whole"))
    #expect(try run.state("run", 6) == place.state("whole", 6))
  }

  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)")) func fullDiskForTheAnchorAndForTheMetrics() throws
  {
    let place = try RunPlace()
    for ballast in [Int](stride(from: 0, to: 260, by: 20)) {
      let disk = try SmallDisk(mebibytes: 1)
      try Data(count: ballast * 1024).write(to: URL(fileURLWithPath: disk.path + "/ballast"))
      let settings = try place.settings("run", ["logging.directory=\(disk.path)/run", "checkpoint.every=0"])
      let ends = try Runs.ends(ranks: 2) { _ in settings }
      for end in ends where end.error != nil {
        #expect(end.isCollective && end.error!.contains("No space left on device"), "\(end)")
      }
      #expect(ends[0].error == nil || ends.count { $0.speaks } == 1)
      let checkpoint = disk.path + "/run/checkpoints/step-000006"
      if FileManager.default.fileExists(atPath: checkpoint) { try TrainingCheckpoint(path: checkpoint)!.verify() }
      let anchor = disk.path + "/run/anchor"
      if FileManager.default.fileExists(atPath: anchor) { #expect(TensorContainer.verify(anchor).isEmpty) }
      let held = try FileManager.default.contentsOfDirectory(atPath: disk.path + "/run")
      #expect(!held.contains { $0.contains(".tmp-") }, "\(held)")
    }
  }

  @Test func figuresOfARunawayModelArePrintable() throws {
    // Large norms and losses pass through progress lines and metrics before they stop being numbers.
    let place = try RunPlace { values, spec in
      if spec.name.hasSuffix("norm.weight") { for i in values.indices { values[i] = 1e12 } }
    }
    let settings = try place.settings("run", ["quantization.objective=full_precision", "training.steps=2"])
    let ends = try Runs.ends(ranks: 1) { _ in settings }
    #expect(ends[0].error == nil || ends[0].notFiniteStep != nil, "\(ends)")
  }
}

enum TrainingCheckpointName {
  static func of(step: Int) -> String { "step-" + String(repeating: "0", count: 6 - String(step).count) + String(step) }
}
