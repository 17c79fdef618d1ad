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

/// `mfqat` as a process, or as the ranks of a job.
final class Job {
  private let child = Process()
  private let output = Pipe()
  /// Standard output and error so far.
  private(set) var text = ""

  static let timedOut: Int32 = 124
  static let mpirun = "/usr/bin/mpirun"
  static var mfqat: String {
    let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return String(bundle.prefix(through: bundle.lastIndex(of: "/") ?? bundle.startIndex)) + "mfqat"
  }
  static var isAvailable: Bool {
    Launch.current == .alone && FileManager.default.isExecutableFile(atPath: mpirun)
      && FileManager.default.isExecutableFile(atPath: mfqat)
  }
  static let absence = "needs mpirun and mfqat, and not to run under mpirun"

  init(ranks: Int?, _ arguments: [String]) throws {
    child.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")  // 124 instead of a hang
    var line = ["--kill-after=5", "60"]
    if let ranks {
      line +=
        [Self.mpirun] + (geteuid() == 0 ? ["--allow-run-as-root"] : []) + [
          "-n", "\(ranks)", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
        ]
    }
    child.arguments = line + [Self.mfqat] + arguments
    child.standardOutput = output
    child.standardError = output
    // The pool's threads block signals, and a process inherits what its maker blocks.
    var none = sigset_t(), before = sigset_t()
    unsafe sigemptyset(&none)
    unsafe pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
    try child.run()
  }

  var process: Int32 { child.processIdentifier }

  struct Ended: Error { let text: String }

  /// Reads on until a line of which `holds`.
  func waitForLine(_ holds: (Substring) -> Bool) throws {
    while !text.split(separator: "\n").contains(where: holds) {
      let data = output.fileHandleForReading.availableData
      guard !data.isEmpty else { throw Ended(text: text) }
      text += String(decoding: data, as: UTF8.self)
    }
  }

  /// The exit status, 128 + the number of a signal.
  func end() throws -> Int32 {
    text += String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    child.waitUntilExit()
    return child.terminationReason == .exit ? child.terminationStatus : 128 + child.terminationStatus
  }

  /// Parent and name of a process; nil if there is none or it only waits to be collected.
  private static func status(of process: String) -> (parent: Int32, name: String)? {
    guard let data = FileManager.default.contents(atPath: "/proc/\(process)/stat") else { return nil }
    // id (name) state parent …; a name can hold anything, a parenthesis too.
    let text = String(decoding: data, as: UTF8.self)
    guard let open = text.firstIndex(of: "("), let close = text.lastIndex(of: ")") else { return nil }
    let rest = text[text.index(after: close)...].dropFirst().split(separator: " ")
    guard rest.count > 1, rest[0] != "Z", let parent = Int32(rest[1]) else { return nil }
    return (parent, String(text[text.index(after: open)..<close]))
  }

  /// Whether all have ended within ten seconds: mpirun can be gone a moment before the ranks it has killed.
  static func haveEnded(_ processes: [Int32]) -> Bool {
    for _ in 0..<1000 {
      if !processes.contains(where: { status(of: "\($0)") != nil }) { return true }
      usleep(10_000)
    }
    return false
  }

  /// Descendants of a process with that name, oldest first.
  static func processes(named name: String, below ancestor: Int32) -> [Int32] {
    var all: [Int32: (parent: Int32, name: String)] = [:]
    for entry in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
      if let id = Int32(entry) { all[id] = status(of: entry) }
    }
    func descends(_ id: Int32) -> Bool {
      guard let parent = all[id]?.parent, parent > 1 else { return false }
      return parent == ancestor || descends(parent)
    }
    return all.filter { $0.value.name == name && descends($0.key) }.keys.sorted()
  }
}
