import Checkpoints
import Communication
import Foundation
import Glibc
import Settings
import Testing
import Training
import Transformer

/// SIGUSR1, SIGTERM and SIGINT end a run after the step in progress, with a checkpoint. In a process of its own: the
/// flag is the process's, and other suites train in this one.
@Suite struct SignalTests {
  @Test func userSignal() async {
    await #expect(processExitsWith: .success) { try SignalTests.stops(at: SIGUSR1, "SIGUSR1") }
  }

  @Test func termination() async {
    await #expect(processExitsWith: .success) { try SignalTests.stops(at: SIGTERM, "SIGTERM") }
  }

  @Test func interrupt() async {
    await #expect(processExitsWith: .success) { try SignalTests.stops(at: SIGINT, "SIGINT") }
  }

  struct Failed: Error, CustomStringConvertible { let description: String }

  static func require(_ holds: Bool, _ message: @autoclosure () throws -> String, line: Int = #line) throws {
    if !holds { throw Failed(description: "line \(line): \(try message())") }
  }

  /// Rank 0 of two gets the signal after step 2; both stop there, and the run goes on later to the same end.
  static func stops(at signal: Int32, _ name: String) throws {
    let place = try RunPlace()
    let settings = try place.settings()
    var before = sigaction()
    unsafe sigaction(signal, nil, &before)
    let ends = try Communicator.onThreads(2) { communicator -> RankEnd in
      var end = RankEnd()
      let run = try TrainingRun(
        settings, communicator: communicator, open: { try ModelSources.open($0) },
        report: { line in
          end.lines.append(line)
          if line.hasPrefix("step: 2/") { raise(signal) }
        })
      end.outcome = try run.run(resume: .no)
      let summary = run.summary
      try require(summary.json["finished"]?.bool == false && summary.json["anchor"]?.isNull == true, "\(summary)")
      try require(summary.text.contains("--resume auto"), summary.text)
      return end
    }
    try require(ends.allSatisfy { $0.outcome == .stopped(step: 2) }, "\(ends)")
    let last = ends[0].lines.last ?? ""
    try require(last.contains("stopped by \(name) after step 2") && last.contains("--resume auto"), last)
    try require(place.names("run/checkpoints") == ["step-000002"], "\(place.names("run/checkpoints"))")
    try TrainingCheckpoint(path: place("run/checkpoints/step-000002"))!.verify()
    try require(!place.exists("run/anchor"), "an anchor of half a run")
    try require(place.metrics("run").count == 2, "\(place.metrics("run"))")

    // What the process did on signals before, it does again.
    var after = sigaction()
    unsafe sigaction(signal, nil, &after)
    let same =
      unsafe unsafeBitCast(before.__sigaction_handler, to: Int.self)
      == unsafeBitCast(after.__sigaction_handler, to: Int.self)
    try require(same, "the handler is still installed")

    // The next run of the process is not stopped by a signal of the last one.
    for (directory, resume) in [("run", TrainingRun.Resume.newest), ("whole", .no)] {
      let ends = try Runs.ends(ranks: 1, resume: resume) { _ in try place.settings(directory) }
      try require(ends[0].outcome == .finished, "\(ends)")
    }
    try require(try place.metrics("run") == place.metrics("whole"), "the metrics differ from the uninterrupted run's")
    try require(try place.state("run", 6) == place.state("whole", 6), "the state differs from the uninterrupted run's")
  }
}
