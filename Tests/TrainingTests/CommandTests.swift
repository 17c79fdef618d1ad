import Checkpoints
import Communication
import Foundation
import Glibc
import Settings
import Testing
import Training
import Transformer

/// `mfqat train` as people start it: a process, or several under mpirun.
@Suite(.serialized, .enabled(if: Job.isAvailable, "\(Job.absence)"))
struct CommandTests {
  @Test func sameFilesAloneAndOnOneToFourRanks() throws {
    let place = try RunPlace()
    try place.write(place.yaml("alone"), "run.yaml")
    let alone = try Job(ranks: nil, ["train", "--config", place("run.yaml"), "--quiet"])
    #expect(try alone.end() == 0, "\(alone.text)")
    for ranks in 1...4 {
      let job = try Job(
        ranks: ranks, ["train", "--config", place("run.yaml"), "--set", "logging.directory=\(place("on\(ranks)"))"])
      #expect(try job.end() == 0, "\(job.text)")
      #expect(job.text.contains("step: 6/6"))
      #expect(try place.metrics("on\(ranks)") == place.metrics("alone"), "losses on \(ranks) ranks")
      #expect(
        place.names("on\(ranks)/anchor") == place.names("alone/anchor") && place.exists("alone/anchor/config.json"))
      #expect(try place.state("on\(ranks)", 6) == place.state("alone", 6), "on \(ranks) ranks")
      let files = place.names("alone/anchor").map { "/anchor/" + $0 }
      for file in files {
        #expect(try place.bytes("on\(ranks)" + file) == place.bytes("alone" + file), "\(file) on \(ranks) ranks")
      }
    }
  }

  @Test func refusalHasOneVoice() throws {
    let place = try RunPlace()
    try place.write(place.yaml("run"), "run.yaml")
    for (override, words) in [
      ("model.path=\(place("absent"))", "no such file or folder"), ("training.stepz=3", "steps"),
    ] {
      let job = try Job(ranks: 3, ["train", "--config", place("run.yaml"), "--set", override])
      #expect(try job.end() == 1, "\(job.text)")
      #expect(job.text.split(separator: "\n").count { $0.hasPrefix("error: ") } == 1, "\(job.text)")
      #expect(job.text.contains(words), "\(job.text)")
    }
    #expect(!place.exists("run"))
  }

  @Test func verifyKnowsTheChecksumsOfACheckpoint() throws {
    let place = try RunPlace()
    try place.write(place.yaml("run"), "run.yaml")
    try Runs.finish(place.settings("run", ["training.steps=2"]))
    for whole in [true, false] {
      // The moments are no model's weights: only their checksum can tell.
      if !whole { try place.damage("run/checkpoints/step-000002/data-00000-00000.zst") }
      let job = try Job(ranks: nil, ["verify", place("run")])
      #expect(try job.end() == (whole ? 0 : 1), "\(job.text)")
      #expect(job.text.contains(whole ? "every checksum holds" : "data-00000-00000.zst"), "\(job.text)")
    }
  }

  @Test func aKilledRankEndsTheJob() throws {
    let place = try RunPlace()
    try place.write(place.yaml("run"), "run.yaml")
    let endless = [
      "train", "--config", place("run.yaml"), "--set", "training.steps=10000000", "--set", "checkpoint.every=2",
    ]
    let job = try Job(ranks: 3, endless)
    try job.waitForLine { $0.contains("saved checkpoint step-000002") }
    let ranks = Job.processes(named: "mfqat", below: job.process)
    #expect(ranks.count == 3)
    kill(try #require(ranks.last), SIGKILL)
    let status = try job.end()
    #expect(status != 0 && status != Job.timedOut, "\(status): \(job.text)")
    #expect(Job.haveEnded(ranks), "ranks outlive the job")
    // Whatever it was doing: what carries a checkpoint's name is one.
    let kept = place.names("run/checkpoints").compactMap { TrainingCheckpoint(path: place("run/checkpoints/" + $0)) }
    #expect(!kept.isEmpty)
    for checkpoint in kept { try checkpoint.verify() }
  }

  /// To a process of its own any of the three; mpirun passes SIGUSR1 on to the ranks.
  @Test(arguments: [(SIGUSR1, nil), (SIGTERM, nil), (SIGINT, nil), (SIGUSR1, 2)] as [(Int32, Int?)])
  func aSignalSaves(signal: Int32, ranks: Int?) throws {
    let place = try RunPlace()
    let job = try Self.endlessJob(in: place, ranks: ranks)
    kill(try #require(Job.processes(named: ranks == nil ? "mfqat" : "mpirun", below: job.process).first), signal)
    #expect(try job.end() == 0, "\(job.text)")
    #expect(job.text.contains("--resume auto"), "\(job.text)")
    let kept = place.names("run/checkpoints")
    #expect(kept.count == 1 && !place.exists("run/anchor"), "\(kept)")
    for name in kept { try TrainingCheckpoint(path: place("run/checkpoints/" + name))!.verify() }
  }

  /// Told to end itself, mpirun gives the ranks a second and kills them: time to save or not, but never to save half.
  @Test(arguments: [SIGTERM, SIGINT]) func aSignalThatEndsTheLauncher(signal: Int32) throws {
    let place = try RunPlace()
    let job = try Self.endlessJob(in: place, ranks: 2)
    kill(try #require(Job.processes(named: "mpirun", below: job.process).first), signal)
    let status = try job.end()
    #expect(status != 0 && status != Job.timedOut, "\(status): \(job.text)")
    for name in place.names("run/checkpoints") {
      if let checkpoint = TrainingCheckpoint(path: place("run/checkpoints/" + name)) { try checkpoint.verify() }
    }
  }

  /// A run far from its end, some steps in.
  private static func endlessJob(in place: RunPlace, ranks: Int?) throws -> Job {
    try place.write(place.yaml("run"), "run.yaml")
    let job = try Job(
      ranks: ranks,
      ["train", "--config", place("run.yaml"), "--set", "training.steps=10000000", "--set", "checkpoint.every=0"])
    try job.waitForLine { $0.contains("step: 2/") }
    return job
  }
}
