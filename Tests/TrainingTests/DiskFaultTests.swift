import Checkpoints
import Foundation
import Glibc
import Settings
import Testing
import Training

/// Disks that are full or read-only, directories that others use, files that cannot be deleted.
@Suite(.serialized) struct DiskFaultTests {
  /// A run on a small disk of its own; the model and the texts lie elsewhere.
  private func settings(_ place: RunPlace, _ disk: SmallDisk, _ more: String...) throws -> RunConfiguration {
    try place.settings(
      "run", ["logging={directory: \(disk.path)/run, validate_every: 0}", "checkpoint={every: 1, keep: 2, anchor: false}"] + more)
  }

  private func verified(_ disk: SmallDisk) throws -> [Int] {
    let folder = disk.path + "/run/checkpoints"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    let checkpoints = names.compactMap { TrainingCheckpoint(path: folder + "/" + $0) }
    #expect(checkpoints.count == names.count, "\(names)")
    for checkpoint in checkpoints { try checkpoint.verify() }
    return checkpoints.map(\.step).sorted()
  }

  private static func fill(_ file: URL) {
    while (try? Data(count: 1 << 14).append(to: file)) != nil {}
  }

  /// Somebody fills the disk for a while: the run goes on, says so, and saves again when there is room.
  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)"), arguments: [(1, false), (2, false), (2, true)])
  func trainingOutlivesAFullDisk(ranks: Int, background: Bool) throws {
    let disk = try SmallDisk(mebibytes: 8), place = try RunPlace()
    let ballast = URL(fileURLWithPath: disk.path + "/ballast")
    let settings = try settings(place, disk, "training.steps=8", "checkpoint.background=\(background)")
    let ends = try Runs.ends(ranks: ranks, onLine: { line in
      if line.hasPrefix("saved checkpoint step-000002") { Self.fill(ballast) }
      if line.hasPrefix("warning: the checkpoint of step 4") { try? FileManager.default.removeItem(at: ballast) }
    }) { _ in settings }
    #expect(ends.allSatisfy { $0.error == nil && $0.outcome == .finished }, "\(ends)")
    let lines = ends[0].lines
    #expect(lines.contains { $0.hasPrefix("warning: the checkpoint of step") && $0.contains("No space left on device") }, "\(lines)")
    #expect(lines.contains { $0.contains("stands") && $0.contains("Training goes on") }, "\(lines)")
    let kept = try verified(disk)
    #expect(kept.last == 8)
    try Runs.finish(place.settings("whole", ["training.steps=8", "checkpoint.anchor=false"]))
    let run = try RunPlace(at: disk.path + "/place")
    #expect(try run.state("../run", 8) == place.state("whole", 8))
    #expect(try run.metrics("../run") == place.metrics("whole").filter { !$0.contains("validation") })
  }

  /// The last save is what a run is for: it fails with the reason, and what was saved before stays.
  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)")) func theLastSaveMustSucceed() throws {
    let disk = try SmallDisk(mebibytes: 4), place = try RunPlace()
    let ballast = URL(fileURLWithPath: disk.path + "/ballast")
    let settings = try settings(place, disk)
    let ends = try Runs.ends(ranks: 2, onLine: { line in
      if line.hasPrefix("saved checkpoint step-000003") { Self.fill(ballast) }
    }) { _ in settings }
    #expect(ends.allSatisfy { $0.isCollective } && ends.count { $0.speaks } == 1, "\(ends)")
    #expect(ends[0].error!.contains("No space left on device"), "\(ends)")
    #expect(try verified(disk) == [2, 3], "\(ends)")
  }

  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)")) func aReadOnlyDisk() throws {
    let disk = try SmallDisk(mebibytes: 8), place = try RunPlace()
    try Runs.finish(settings(place, disk, "training.steps=2"))
    disk.makeReadOnly()
    for resume in [TrainingRun.Resume.newest, .no] {
      let settings = try settings(place, disk, "training.steps=2")
      let ends = try Runs.ends(ranks: 2, resume: resume) { _ in settings }
      #expect(ends.allSatisfy { $0.isCollective }, "\(ends)")
      if resume == .newest { #expect(ends[0].error!.contains("Read-only file system"), "\(ends)") }
    }
    #expect(try verified(disk) == [1, 2])
  }

  /// The second job is refused and harms nothing; when the first has gone it may.
  @Test(.enabled(if: Job.isAvailable, "\(Job.absence)"), arguments: [nil, 2] as [Int?])
  func twoJobsInOneDirectory(ranks: Int?) throws {
    let place = try RunPlace()
    try place.write(place.yaml("run"), "run.yaml")
    let command = ["train", "--config", place("run.yaml"), "--resume", "auto", "--set", "training.steps=1000000",
      "--set", "checkpoint={every: 2, keep: 2}", "--set", "logging={directory: \(place("run")), every: 1000}"]
    let first = try Job(ranks: ranks, command)
    try first.waitForLine { $0.contains("saved checkpoint step-000002") }
    let second = try Job(ranks: ranks, command)
    #expect(try second.end() == 1, "\(second.text)")
    #expect(second.text.contains("another job is writing this run directory: process"), "\(second.text)")
    #expect(second.text.split(separator: "\n").count { $0.hasPrefix("error: ") } == 1, "\(second.text)")
    for process in Job.processes(named: ranks == nil ? "mfqat" : "mpirun", below: first.process) {
      kill(process, SIGUSR1)
    }
    #expect(try first.end() == 0, "\(first.text)")
    for name in place.names("run/checkpoints") { try TrainingCheckpoint(path: place("run/checkpoints/" + name))!.verify() }
    let third = try Job(ranks: ranks, command)
    try third.waitForLine { $0.contains("resumed at step") }
    for process in Job.processes(named: ranks == nil ? "mfqat" : "mpirun", below: third.process) {
      kill(process, SIGUSR1)
    }
    #expect(try third.end() == 0, "\(third.text)")
  }

  /// An old checkpoint that cannot be deleted costs a warning, no checkpoint and no run.
  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)")) func aDeleteThatFails() throws {
    let place = try RunPlace()
    let settings = try place.settings("run", ["checkpoint={every: 1, keep: 1, anchor: false}", "logging.validate_every=0"])
    let held = Held()
    let ends = try Runs.ends(ranks: 2, onLine: { line in
      if line.hasPrefix("saved checkpoint step-000001") { held.hold(place("run/checkpoints/step-000001")) }
    }) { _ in settings }
    #expect(ends.allSatisfy { $0.error == nil && $0.outcome == .finished }, "\(ends)")
    #expect(ends[0].lines.contains { $0.hasPrefix("warning: ") && $0.contains("step-000001") }, "\(ends)")
    held.letGo()
    let names = place.names("run/checkpoints").filter { TrainingCheckpoint(path: place("run/checkpoints/" + $0)) != nil }
    for name in names { try TrainingCheckpoint(path: place("run/checkpoints/" + name))!.verify() }
    #expect(names.last == "step-000006")
    // The next run removes what is left.
    try Runs.finish(settings, resume: .newest)
    #expect(place.names("run/checkpoints").allSatisfy { !$0.contains(".trash-") })
  }
}

/// Keeps a directory from being removed: a mount on a directory inside it.
private final class Held: @unchecked Sendable {
  private var place: String?

  func hold(_ directory: String) {
    let inside = directory + "/held"
    unsafe mkdir(inside, 0o755)
    precondition(unsafe mount("tmpfs", inside, "tmpfs", 0, "size=64k") == 0, "mount: errno \(errno)")
    place = directory
  }

  /// The directory has another name by now.
  func letGo() {
    guard let place else { return }
    let parent = String(place.prefix(through: place.lastIndex(of: "/")!))
    let name = String(place.dropFirst(parent.count))
    for entry in (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? [] where entry.hasPrefix(name) {
      unsafe umount2(parent + entry + "/held", Int32(MNT_DETACH))
    }
    self.place = nil
  }

  deinit { letGo() }
}

extension Data {
  /// Throws when the disk is full.
  fileprivate func append(to file: URL) throws {
    let descriptor = unsafe open(file.path, O_WRONLY | O_CREAT | O_APPEND, 0o644)
    defer { close(descriptor) }
    let written = unsafe withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
    struct Full: Error {}
    if written != count { throw Full() }
  }
}
