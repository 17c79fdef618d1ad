import Communication
import Synchronization
import Testing
import Training

/// A run that is told to stop saves between two micro-batches, and goes on in the middle of its step.
@Suite struct PausedStepTests {
  static let accumulating = ["training={steps: 3, batch: 24, lanes: 4, accumulation: 3}", "checkpoint={every: 2, keep: 2}"]

  /// Runs that are told to stop at every `calls`-th question, one after the other, until one comes to its end; the marks
  /// where they stopped.
  private func inParts(
    _ place: RunPlace, _ overrides: [String], calls: Int, on ranks: [Int], nodes: NodeMap? = nil
  ) throws -> [String] {
    var stops: [String] = []
    for part in 0..<40 {
      let settings = try place.settings("run", overrides), count = ranks[part % ranks.count]
      let ends = try Runs.ends(ranks: count, nodes: nodes, resume: .newest, prepare: { run in
        guard run.trainer.communicator.isRoot else { return }
        let questions = Atomic<Int>(0)
        run.isAskedToStop = { questions.add(1, ordering: .relaxed).newValue == calls }
      }) { _ in settings }
      for end in ends { #expect(end.error == nil, "\(end)") }
      if part > 0 { #expect(ends[0].lines.contains { $0.hasPrefix("resumed at \(stops.last!) from") }, "\(ends[0].lines)") }
      if ends[0].outcome == .finished { return stops }
      let line = try #require(ends[0].lines.first { $0.hasPrefix("stopped by") })
      stops.append(line.split(separator: " after ")[1].split(separator: ";").first.map(String.init) ?? "")
    }
    Issue.record("no end in sight: \(stops)")
    return stops
  }

  /// Exact gradients: on any ranks, in the middle of an accumulation or of a sum over formats, the end is the same.
  @Test(arguments: ["round_robin", "sum"], [2, 5]) func anywhereOnAnyRanks(schedule: String, calls: Int) throws {
    let place = try RunPlace()
    let overrides = Self.accumulating + ["quantization.schedule=\(schedule)"]
    try Runs.finish(place.settings("whole", overrides))
    let stops = try inParts(place, overrides, calls: calls, on: [2, 3, 1, 4])
    #expect(stops.contains { $0.contains("micro-batch") }, "\(stops)")
    try ResumeTests.expectSameEnd(place, "run", "whole", step: 3)
    #expect(place.names("run/checkpoints").allSatisfy { !$0.contains(".") }, "\(place.names("run/checkpoints"))")
  }

  /// Sharded layers send every micro-batch's gradients: rounding and feedback go on where they were.
  @Test func fastModesOnTheSameRanks() throws {
    let place = try RunPlace(), nodes = NodeMap(sizes: [2, 2])
    let overrides = Self.accumulating + [
      "communication={gradients: two_level, error_feedback: true, sharding: layers}",
      "training.recompute=layers",
    ]
    try Runs.finish(place.settings("whole", overrides), ranks: 4, nodes: nodes)
    let stops = try inParts(place, overrides, calls: 2, on: [4], nodes: nodes)
    #expect(stops.contains { $0.contains("micro-batch") }, "\(stops)")
    try ResumeTests.expectSameEnd(place, "run", "whole", step: 3)
  }

  /// Where ranks sum their lanes by themselves, what they hold fits no other ranks: the step is finished first.
  @Test func ownSumsFinishTheStep() throws {
    let place = try RunPlace()
    let overrides = Self.accumulating + ["communication.gradients=int8"]
    try Runs.finish(place.settings("whole", overrides), ranks: 2)
    let stops = try inParts(place, overrides, calls: 1, on: [2])
    #expect(stops == ["step 1", "step 2", "step 3"] || stops == ["step 1", "step 2"], "\(stops)")
    try ResumeTests.expectSameEnd(place, "run", "whole", step: 3)
  }

  @Test func aPausedStepIsAModelAndIsPruned() throws {
    let place = try RunPlace()
    let overrides = Self.accumulating + ["checkpoint={every: 1, keep: 1, keep_every: 1}"]
    let settings = try place.settings("run", overrides)
    _ = try Runs.ends(prepare: { run in
      let questions = Atomic<Int>(0)
      run.isAskedToStop = { questions.add(1, ordering: .relaxed).newValue == 5 }
    }) { _ in settings }
    #expect(place.names("run/checkpoints") == ["step-000001", "step-000001+002"])
    #expect(try place.bytes("run/latest/manifest.json") == place.bytes("run/checkpoints/step-000001+002/manifest.json"))
    // The weights are those of the step before.
    let masters = try place.read("run", 1).filter { $0.key.hasPrefix("master/") }
    let paused = try place.read("run/checkpoints/step-000001+002")
    #expect(paused.filter { $0.key.hasPrefix("master/") } == masters && paused.keys.contains { $0.hasPrefix("gradient/") })
    try Runs.finish(settings, ranks: 2, resume: .newest)
    #expect(place.names("run/checkpoints") == ["step-000001", "step-000002", "step-000003"])
  }
}
