import Checkpoints
import Foundation
import Glibc
import Tensors
import Testing
import Training

/// kill -9 in the middle of saving: of a rank, of all, of the launcher. What a run has said to be saved stays, nothing half
/// written carries a checkpoint's name, and the run that goes on ends with the bits of one that nobody killed.
@Suite(.serialized, .enabled(if: Job.isAvailable, "\(Job.absence)"))
struct KillFaultTests {
  enum Victim: CaseIterable { case oneRank, allRanks, launcher }

  /// A long run of short steps that saves after each of them.
  struct Run {
    let place: RunPlace
    let name: String
    let background: Bool
    static let steps = 160

    var overrides: [String] {
      [
        "training={steps: \(Self.steps), batch: 4, lanes: 4, learning_rate: 3.0e-3, seed: 7}",
        "quantization={formats: [mxint4, mxint8]}",
        "checkpoint={every: 1, keep: 2, anchor: false, background: \(background), on_failure: stop}",
        "logging={directory: \(place(name)), every: 1000, validate_every: 0}",
      ]
    }

    func start(ranks: Int?, environment: [String: String] = [:]) throws -> Job {
      try place.write(place.yaml(name), "run.yaml")
      return try Job(
        ranks: ranks,
        ["train", "--config", place("run.yaml"), "--resume", "auto"] + overrides.flatMap { ["--set", $0] },
        environment: environment)
    }

    /// The newest step that a job has reported as saved.
    static func acknowledged(_ text: String) -> Int? {
      text.split(separator: "\n").compactMap { line in
        line.hasPrefix("saved checkpoint step-") ? Int(line.dropFirst(22).prefix { $0.isNumber }) : nil
      }.max()
    }

    /// Every directory with a checkpoint's name must be one; returns the newest.
    func newestVerified() throws -> Int? {
      let all = place.names(name + "/checkpoints").compactMap {
        TrainingCheckpoint(path: place("\(name)/checkpoints/\($0)"))
      }
      for checkpoint in all { try checkpoint.verify() }
      return all.map(\.step).max()
    }
  }

  /// Kills and waits until nothing of the job is left.
  private func kill(_ victim: Victim, of job: Job, _ index: Int) throws {
    let ranks = Job.processes(named: "mfqat", below: job.process)
    let launcher = Job.processes(named: "mpirun", below: job.process).first
    switch victim {
    case .oneRank: if !ranks.isEmpty { Glibc.kill(ranks[index % ranks.count], SIGKILL) }
    case .allRanks: for rank in ranks { Glibc.kill(rank, SIGKILL) }
    case .launcher: if let process = launcher ?? ranks.first { Glibc.kill(process, SIGKILL) }
    }
    // Ranks that wait at a fault point do not hear that their launcher has gone.
    if victim == .launcher, launcher != nil {
      usleep(300_000)
      for rank in ranks { Glibc.kill(rank, SIGKILL) }
    }
    _ = try job.end()
    #expect(Job.haveEnded(ranks), "ranks outlive the job")
  }

  private func expectSameEnd(_ run: Run, _ place: RunPlace) throws {
    let job = try run.start(ranks: nil)
    #expect(try job.end() == 0, "\(job.text)")
    try Runs.finish(
      place.settings("whole", Run(place: place, name: "whole", background: false).overrides + ["checkpoint.every=0"]))
    #expect(try place.state(run.name, Run.steps) == place.state("whole", Run.steps))
  }

  // MARK: Random instants

  @Test(arguments: [(false, nil, 26), (true, nil, 26), (false, 2, 5), (true, 3, 5)] as [(Bool, Int?, Int)])
  func randomInstants(background: Bool, ranks: Int?, count: Int) throws {
    let place = try RunPlace()
    let kills = Faults.count(count)
    var round = 0, acknowledged = 0
    var run = Run(place: place, name: "run0", background: background)
    for index in 0..<kills {
      let job = try run.start(ranks: ranks)
      do {
        try job.waitForLine { $0.hasPrefix("saved checkpoint") }
      } catch is Job.Ended {
        // It has come to its end, or the launcher was slow to lose a rank: the reason must be one of these.
        #expect(job.text.contains("\(Run.steps) of \(Run.steps) steps"), "\(job.text)")
      }
      usleep(UInt32(CounterRandom(seed: 11, stream: "instants").integer(UInt64(index), below: 60_000)))
      try kill(Victim.allCases[index % 3], of: job, index)
      acknowledged = max(acknowledged, Run.acknowledged(job.text) ?? 0)
      let newest = try #require(try run.newestVerified(), "no checkpoint after kill \(index)")
      #expect(newest >= acknowledged, "step \(acknowledged) was saved, \(newest) is what is left")
      #expect(TensorContainer.verify(place("\(run.name)/latest")).isEmpty, "latest")
      if newest == Run.steps, index + 1 < kills {
        round += 1
        acknowledged = 0
        run = Run(place: place, name: "run\(round)", background: background)
      }
    }
    try expectSameEnd(run, place)
  }

  // MARK: Scripted points

  @Test(arguments: FaultPoint.allCases, [(nil, false), (nil, true), (2, false)] as [(Int?, Bool)])
  func scriptedPoints(point: FaultPoint, job kind: (ranks: Int?, background: Bool)) throws {
    let place = try RunPlace()
    let run = Run(place: place, name: "run", background: kind.background)
    var acknowledged = 0
    let all = Victim.allCases, turn = FaultPoint.allCases.firstIndex(of: point)! % all.count
    for (index, victim) in (kind.ranks == nil ? [.allRanks] : Faults.isLong ? all : [all[turn]]).enumerated() {
      let mark = place("mark\(index)")
      // Several visits into the run: there are older checkpoints and, for pruning, some to remove.
      let visit = (point == .middleOfFile ? 400 : 8) + index
      let job = try run.start(ranks: kind.ranks, environment: ["MFQAT_FAULT": "\(point.rawValue):\(visit):\(mark)"])
      for _ in 0..<3000 where !FileManager.default.fileExists(atPath: mark) { usleep(10_000) }
      #expect(FileManager.default.fileExists(atPath: mark), "\(point) was not reached")
      try kill(victim, of: job, index)
      acknowledged = max(acknowledged, Run.acknowledged(job.text) ?? 0)
      #expect(acknowledged > 0, "\(job.text)")
      let newest = try #require(try run.newestVerified(), "no checkpoint after \(point)")
      #expect(newest >= acknowledged)
    }
    // What was left half written is cleaned up by the run that goes on.
    let job = try run.start(ranks: kind.ranks)
    try job.waitForLine { $0.hasPrefix("resumed at step") }
    #expect(!job.text.contains("refused"), "\(job.text)")
    try job.waitForLine { $0.hasPrefix("saved checkpoint") }
    for process in Job.processes(named: kind.ranks == nil ? "mfqat" : "mpirun", below: job.process) {
      Glibc.kill(process, SIGUSR1)
    }
    #expect(try job.end() == 0, "\(job.text)")
    let names = place.names("run/checkpoints")
    #expect(names.allSatisfy { TrainingCheckpoint(path: place("run/checkpoints/" + $0)) != nil }, "\(names)")
  }
}

/// How much of a fault is tried: a few in the short suite, many when there is time.
enum Faults {
  static let isLong = ProcessInfo.processInfo.environment["MFQAT_LONG_TESTS"] != nil
  static func count(_ short: Int) -> Int { isLong ? 5 * short : short }
}
