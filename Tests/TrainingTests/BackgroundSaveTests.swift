import Checkpoints
import Communication
import Settings
import Synchronization
import Testing
import Training

/// Checkpoints that are written while training goes on hold what they held when it stopped for them.
@Suite struct BackgroundSaveTests {
  enum Mode: CaseIterable {
    case alone, threeRanks, twoNodes

    var ranks: Int { [.alone: 1, .threeRanks: 3, .twoNodes: 4][self]! }
    var nodes: NodeMap? { self == .twoNodes ? CommunicationResumeTests.twoByTwo : nil }
    var overrides: [String] {
      ["checkpoint={every: 1, keep: 9}"] + (self == .twoNodes ? [CommunicationResumeTests.fast] : [])
    }
  }

  static let background = "checkpoint.background=true"

  @Test(arguments: Mode.allCases) func equalsSavingAtOnce(_ mode: Mode) throws {
    let place = try RunPlace()
    func run(_ name: String, _ more: String..., resume: TrainingRun.Resume = .no) throws -> [String] {
      try Runs.finish(
        place.settings(name, mode.overrides + more), ranks: mode.ranks, nodes: mode.nodes, resume: resume)
    }
    let atOnce = try run("whole")
    #expect(!atOnce.contains { $0.contains("beside training") }, "\(atOnce)")
    let lines = try run("run", Self.background)
    for step in 1...6 {
      #expect(try place.state("run", step) == place.state("whole", step), "step \(step)")
      let saved = try #require(lines.firstIndex { $0.hasPrefix("saved checkpoint step-00000\(step):") }, "\(lines)")
      #expect(lines[saved].contains("beside training") == (step < 6), "nothing goes on beside the last: \(lines)")
      guard step < 6 else { continue }
      let next = try #require(lines.firstIndex { $0.hasPrefix("step: \(step + 1)/") })
      #expect(saved > next, "\(lines)")
    }
    try ResumeTests.expectSameEnd(place, "run", "whole")
    try expectRecords(place)

    try place.crash("run", after: 3)
    let resumed = try run("run", Self.background, resume: .newest)
    #expect(resumed.contains { $0.contains("resumed at step 3") }, "\(resumed)")
    for step in 4...6 { #expect(try place.state("run", step) == place.state("whole", step), "resumed, step \(step)") }
    try ResumeTests.expectSameEnd(place, "run", "whole")
  }

  /// One line a checkpoint in the metrics, with what is on the disk.
  private func expectRecords(_ place: RunPlace) throws {
    let records = try place.text("run/metrics.jsonl").split(separator: "\n")
      .map { try JSONScanner.parse(Array($0.utf8)) }.filter { $0["checkpoint"] != nil }
    #expect(records.map { $0["step"]?.integer } == [1, 2, 3, 4, 5, 6])
    for record in records {
      let step = record["step"]!.integer!, save = record["checkpoint"]!
      let container = try TensorContainer(place("run/checkpoints/" + TrainingCheckpointName.of(step: step)))
      #expect(save["bytes"]?.integer == container.manifest.files.reduce(0) { $0 + $1.size })
      #expect(save["content_bytes"]?.integer == container.tensors.reduce(0) { $0 + $1.contentSize })
      for key in ["seconds_lost", "seconds_writing"] { #expect(try #require(save[key]?.double) > 0) }
    }
  }

  /// A checkpoint of the step before is on its way whenever a step ends, never two.
  @Test(arguments: [1, 2]) func oneIsInFlight(ranks: Int) throws {
    let place = try RunPlace(), found = Mutex<[[String]]>([])
    let settings = try place.settings(
      "run", ["checkpoint={every: 1, keep: 9, background: true}", "logging.validate_every=0"])
    let ends = try Runs.ends(
      ranks: ranks,
      onLine: { line in
        guard line.hasPrefix("step: ") else { return }
        found.withLock { $0.append(place.names("run/checkpoints")) }
      }
    ) { _ in settings }
    #expect(ends.allSatisfy { $0.outcome == .finished }, "\(ends)")
    for (step, names) in zip(1..., found.withLock(\.self)) {
      let committed = names.filter { !$0.contains(".tmp-") }, temporary = names.filter { $0.contains(".tmp-") }
      #expect(committed == (1..<max(1, step - 1)).map { TrainingCheckpointName.of(step: $0) }, "after step \(step)")
      #expect(temporary.count == min(1, step - 1), "after step \(step): \(names)")
      #expect(temporary.allSatisfy { $0.hasPrefix("step-00000\(step - 1).tmp-") }, "after step \(step): \(names)")
    }
    #expect(place.names("run/checkpoints").count == 6)
  }

  /// What is still being written when the last step is done is committed before the end; the last step has its own.
  @Test func theEndWaits() throws {
    let place = try RunPlace()
    let overrides = ["checkpoint={every: 5, keep: 9}", "training.steps=6"]
    try Runs.finish(place.settings("whole", overrides))
    let lines = try Runs.finish(place.settings("run", overrides + [Self.background]), ranks: 2)
    #expect(place.names("run/checkpoints") == ["step-000005", "step-000006"])
    let saved = lines.first { $0.hasPrefix("saved checkpoint step-000005") }
    #expect(saved?.contains("beside training") == true, "\(lines)")
    for step in [5, 6] { #expect(try place.state("run", step) == place.state("whole", step)) }
  }
}
