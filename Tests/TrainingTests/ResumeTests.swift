import Checkpoints
import Communication
import Settings
import Testing
import Training

/// A run that was killed and goes on ends with the bits of one that was not.
@Suite struct ResumeTests {
  /// Masters, moments, anchor and metrics, to the byte.
  static func expectSameEnd(
    _ place: RunPlace, _ a: String, _ b: String, step: Int = 6, anchor: Bool = true,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    #expect(try place.metrics(a) == place.metrics(b), sourceLocation: sourceLocation)
    #expect(try place.state(a, step) == place.state(b, step), sourceLocation: sourceLocation)
    guard anchor else { return }
    #expect(place.names(a + "/anchor") == place.names(b + "/anchor"), sourceLocation: sourceLocation)
    for file in place.names(a + "/anchor") {
      #expect(
        try place.bytes(a + "/anchor/" + file) == place.bytes(b + "/anchor/" + file), "\(file)",
        sourceLocation: sourceLocation)
    }
  }

  @Test func resumedEqualsUninterrupted() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("whole"))
    try Runs.finish(place.settings())
    try place.crash("run", after: 3)
    let lines = try Runs.finish(place.settings(), ranks: 2, resume: .newest)
    #expect(lines.contains { $0.contains("resumed at step 3") }, "\(lines)")
    try Self.expectSameEnd(place, "run", "whole")
    #expect(place.names("run/checkpoints") == ["step-000003", "step-000006"], "the half checkpoint is gone")
    #expect(place.names("run") == place.names("whole"))
  }

  @Test func fourThenTwoThenThreeRanks() throws {
    let place = try RunPlace()
    let overrides = ["checkpoint.every=2", "quantization.schedule=random"]
    try Runs.finish(place.settings("whole", overrides))
    let settings = try place.settings("run", overrides)
    try Runs.finish(settings, ranks: 4)
    try place.crash("run", after: 2)
    try Runs.finish(settings, ranks: 2, resume: .newest)
    try place.crash("run", after: 4)
    try Runs.finish(settings, ranks: 3, resume: .newest)
    try Self.expectSameEnd(place, "run", "whole")
  }

  @Test func pretrainingFromAConfigurationResumes() throws {
    let place = try RunPlace()
    try Runs.finish(place.pretraining("whole"), ranks: 2)
    try Runs.finish(place.pretraining("run"))
    try place.crash("run", after: 3)
    try Runs.finish(place.pretraining("run"), ranks: 3, resume: .newest)
    try Self.expectSameEnd(place, "run", "whole", anchor: false)
    #expect(!place.exists("run/anchor"), "a run in full precision has none")
  }

  @Test func teacherIsTheStartingModelAgain() throws {
    let place = try RunPlace()
    let overrides = ["distillation.weight=0.7", "distillation.temperature=2"]
    try Runs.finish(place.settings("whole", overrides))
    let settings = try place.settings("run", overrides)
    try Runs.finish(settings)
    try place.crash("run", after: 3)
    try Runs.finish(settings, ranks: 2, resume: .newest)
    try Self.expectSameEnd(place, "run", "whole")
    try Runs.finish(place.settings("plain"))
    #expect(try place.metrics("plain") != place.metrics("run"))
  }

  // MARK: Which checkpoint

  @Test(arguments: ["data-00000-00000.zst", "data-00001-00000.zst", "config.json", "manifest.json"])
  func damagedIsPassedOver(file: String) throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("whole"))
    try Runs.finish(place.settings(), ranks: 2)
    try place.remove("run/anchor")
    try place.damage("run/checkpoints/step-000006/" + file)
    let lines = try Runs.finish(place.settings(), ranks: 2, resume: .newest)
    #expect(lines.contains { $0.contains("refused") && $0.contains("step-000006") && $0.contains(file) }, "\(lines)")
    #expect(lines.contains { $0.contains("resumed at step 3") }, "\(lines)")
    try Self.expectSameEnd(place, "run", "whole")
    #expect(place.names("run/checkpoints") == ["step-000003", "step-000006", "step-000006.corrupt"])
  }

  @Test func aMissingFileIsDamage() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings())
    try place.remove("run/checkpoints/step-000006/data-00000-00000.zst")
    let lines = try Runs.finish(place.settings(), resume: .newest)
    #expect(lines.contains { $0.contains("refused") && $0.contains("data-00000-00000.zst") }, "\(lines)")
  }

  @Test func noneUsableIsAnError() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings())
    for step in ["3", "6"] { try place.damage("run/checkpoints/step-00000\(step)/data-00000-00000.zst") }
    for _ in 0..<2 {  // the second try says the same
      try Runs.expectRefusal(
        "none of 2 checkpoints", "step-000006: file data-00000-00000.zst, bytes 0..<", "hash", ranks: 2, resume: .newest,
        of: place.settings())
    }
    #expect(place.names("run/checkpoints") == ["step-000003", "step-000006"])
  }

  @Test func aRenamedCheckpointIsRefused() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings())
    try place.remove("run/checkpoints/step-000006")
    try Files.move(place("run/checkpoints/step-000003"), to: place("run/checkpoints/step-000005"))
    try Runs.expectRefusal("expected step 5", "found step 3", resume: .newest, of: place.settings())
  }

  @Test func fromNamesACheckpoint() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("whole"))
    // In place, although a newer one is there, which is replaced when the run comes by; the link means its target.
    try Runs.finish(place.settings())
    try place.remove("run/anchor")
    try Runs.finish(place.settings(), ranks: 2, resume: .from(place("run/checkpoints/step-000003/")))
    try Self.expectSameEnd(place, "run", "whole")
    #expect(place.names("run/checkpoints") == ["step-000003", "step-000006"])
    try place.remove("run/anchor")
    try Runs.finish(place.settings(), resume: .from(place("run/latest")))
    try Self.expectSameEnd(place, "run", "whole")

    // Into another folder: its metrics begin where the other's end.
    try Runs.finish(place.settings("other"), ranks: 3, resume: .from(place("run/checkpoints/step-000003")))
    #expect(place.names("other/checkpoints") == ["step-000006"])
    #expect(try place.metrics("other") == Array(place.metrics("whole").dropFirst(5)))
    #expect(try place.bytes("other/anchor/manifest.json") == place.bytes("whole/anchor/manifest.json"))
    // Already at its last step: the new folder has checkpoint and anchor all the same.
    try Runs.finish(place.settings("third"), resume: .from(place("run/checkpoints/step-000006")))
    #expect(place.names("third/checkpoints") == ["step-000006"] && place.exists("third/anchor"))

    try Runs.expectRefusal(
      "exists and holds", resume: .from(place("run/checkpoints/step-000003")), of: place.settings("other"))
    try Runs.expectRefusal("not a checkpoint", resume: .from(place("model")), of: place.settings("fourth"))
    try Runs.expectRefusal("manifest.json", resume: .from(place("nowhere/step-000003")), of: place.settings("fourth"))
    #expect(!place.exists("fourth"), "a refusal makes no folder")
  }

  @Test func keepPrunesAndNeverTheOneJustSaved() throws {
    let place = try RunPlace()
    let settings = try place.settings("run", ["checkpoint.every=1", "checkpoint.keep=2"])
    try Runs.finish(settings, ranks: 2)
    #expect(place.names("run/checkpoints") == ["step-000005", "step-000006"])
    // Back to an older one with a newer still there: what is saved on the way stays, the newer is replaced in its turn.
    let one = try place.settings("run", ["checkpoint.every=1", "checkpoint.keep=1"])
    let before = try place.state("run", 6)
    try Runs.finish(one, resume: .from(place("run/checkpoints/step-000005")))
    #expect(place.names("run/checkpoints") == ["step-000006"])
    #expect(try place.state("run", 6) == before)
    #expect(try place.bytes("run/latest/manifest.json") == place.bytes("run/checkpoints/step-000006/manifest.json"))
  }

  @Test func killedBeforeTheFirstCheckpointStartsAgain() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("whole"))
    try Runs.finish(place.settings())
    try place.crash("run", after: 0)
    try place.remove("run/latest")
    let lines = try Runs.finish(place.settings(), ranks: 2, resume: .newest)
    #expect(!lines.contains { $0.contains("resumed") })
    try Self.expectSameEnd(place, "run", "whole")
    // And where there is nothing at all, it starts too.
    try Runs.finish(place.settings("fresh"), resume: .newest)
    try Self.expectSameEnd(place, "fresh", "whole")
  }

  @Test func autoNeverStartsInAFolderOfOthers() throws {
    let place = try RunPlace()
    try Runs.expectRefusal("exists and holds", "model", resume: .newest, of: place.settings("."))
    try Runs.finish(place.settings())
    for step in ["3", "6"] {
      try Files.move(
        place("run/checkpoints/step-00000\(step)"), to: place("run/checkpoints/step-00000\(step).corrupt"))
    }
    try Runs.expectRefusal(
      "no checkpoint that can be used", "step-000003.corrupt", resume: .newest, of: place.settings())
  }

  @Test func finishedRunOnlyMissesItsAnchor() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("whole"))
    try Runs.finish(place.settings())
    try place.remove("run/anchor")
    try Runs.finish(place.settings(), ranks: 2, resume: .newest)
    try Self.expectSameEnd(place, "run", "whole")
    let lines = try Runs.finish(place.settings(), resume: .newest)
    #expect(lines.contains { $0.contains("is there already and stays") }, "\(lines)")
  }

  // MARK: Of the same run

  @Test(arguments: [
    ("training.learning_rate=1.0e-3", "training.learning_rate"), ("training.steps=8", "training.steps is 8 now and 6"),
    ("training.seed=8", "training.seed"), ("quantization.formats=[mxint2]", "quantization.formats"),
    ("data.context=8", "data.context"), ("distillation.weight=0.5", "distillation.weight"),
  ])
  func changedSettingsAreRefused(override: String, word: String) throws {
    let place = try RunPlace()
    try Runs.finish(place.settings())
    let before = place.names("run")
    try Runs.expectRefusal(word, "step-000006", resume: .newest, of: place.settings("run", [override]))
    try Runs.expectRefusal(
      word, resume: .from(place("run/checkpoints/step-000003")), of: place.settings("run", [override]))
    #expect(place.names("run") == before && place.names("run/checkpoints") == ["step-000003", "step-000006"])
  }

  @Test func changedTextIsRefused() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings())
    try place.write(RunPlace.text(seed: 1, words: 1199), "train.txt")
    try Runs.expectRefusal("training text", "tokens", resume: .newest, of: place.settings())
  }

  /// On another processor the run goes on, and says what that can mean.
  @Test func otherKernelsAreSaidOnce() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings())
    try place.crash("run", after: 3)
    try place.editManifest("run/checkpoints/step-000003/manifest.json") { object in
      var metadata = object["metadata"]!.object!
      metadata["arithmetic"] = "kernels of another machine"
      object["metadata"] = .object(metadata)
    }
    let lines = try Runs.finish(place.settings(), ranks: 2, resume: .newest)
    #expect(lines.count { $0.contains("was computed with kernels of another machine") } == 1, "\(lines)")
  }

  @Test func whatDecidesNoNumberMayChange() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("whole"))
    try Runs.finish(place.settings())
    try place.crash("run", after: 3)
    try Files.move(place("train.txt"), to: place("moved.txt"))
    try Runs.finish(
      place.settings(
        "run",
        [
          "logging.every=2", "logging.validate_every=0", "checkpoint.every=0", "checkpoint.keep=1",
          "checkpoint.anchor=false",
          "data.train=[\(place("moved.txt"))]",
        ]), resume: .newest)
    #expect(!place.exists("run/anchor"))
    #expect(place.names("run/checkpoints") == ["step-000006"])
    #expect(try place.state("run", 6) == place.state("whole", 6))
    #expect(try place.text("run/config.resolved.yaml").contains("every: 2"), "the folder says what was used last")
  }
}
