import Checkpoints
import Foundation
import Glibc
import Testing
import Training

/// Which checkpoints stay, and what a delete that fails leaves.
@Suite struct PruneTests {
  final class Run {
    let path = RunPlace.parent + "/mfqat-prune-\(UUID().uuidString)"
    var directory: RunDirectory { RunDirectory(path: path) }

    init(steps: [Int]) throws {
      for step in steps {
        let folder = path + "/checkpoints/" + TrainingCheckpointName.of(step: step) + "/below"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for file in ["/a", "/../b"] { try Data([1]).write(to: URL(fileURLWithPath: folder + file)) }
      }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func checkpoint(_ step: Int) -> String { path + "/checkpoints/" + TrainingCheckpointName.of(step: step) }

    var names: [String] {
      ((try? FileManager.default.contentsOfDirectory(atPath: path + "/checkpoints")) ?? []).sorted()
    }

    /// Steps of what is listed; each is whole.
    var steps: [Int] {
      names.filter { !$0.contains(".trash-") }.map { name in
        for file in ["/b", "/below/a"] {
          #expect(FileManager.default.fileExists(atPath: path + "/checkpoints/" + name + file), "\(name) is not whole")
        }
        return Int(name.dropFirst(5))!
      }
    }

    var trash: Int { names.count { $0.contains(".trash-") } }
  }

  /// A later one of the same step is not in the way of the one that was just saved.
  @Test func laterPartsOfAStepDoNotCount() throws {
    let place = try RunPlace()
    let settings = try place.settings("run", ["checkpoint={every: 1, keep: 1, anchor: false}", "logging.validate_every=0"])
    try Runs.finish(settings)
    let directory = RunDirectory(path: place("run"))
    for name in ["step-000005", "step-000006+003"] {
      try FileManager.default.copyItem(atPath: place("run/checkpoints/step-000006"), toPath: place("run/checkpoints/" + name))
    }
    #expect(directory.prune(keeping: 1, upTo: StepMark(step: 6)).isEmpty)
    #expect(place.names("run/checkpoints") == ["step-000006", "step-000006+003"])
    #expect(directory.prune(keeping: 1, upTo: StepMark(step: 6, microBatches: 3)).isEmpty)
    #expect(place.names("run/checkpoints") == ["step-000006+003"])
  }

  @Test func newestMultiplesAndLaterStay() throws {
    let run = try Run(steps: [1, 2, 3, 4, 5, 6, 7, 8, 9])
    #expect(run.directory.prune(keeping: 2, keepEvery: 3, upTo: StepMark(step: 8)).isEmpty)
    #expect(run.steps == [3, 6, 7, 8, 9])
    #expect(run.directory.prune(keeping: 3, upTo: StepMark(step: 8)).isEmpty)
    #expect(run.steps == [6, 7, 8, 9])
    #expect(run.directory.prune(keeping: 1, keepEvery: 100, upTo: StepMark(step: 9)).isEmpty)
    #expect(run.steps == [9] && run.trash == 0)
    #expect(run.directory.prune(keeping: 1, upTo: StepMark(step: 8)).isEmpty, "nothing to do")
    #expect(RunDirectory(path: run.path + "/absent").prune(keeping: 1, upTo: StepMark(step: 8)).isEmpty)
  }

  private func mount(_ path: String) throws {
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    let code = unsafe Glibc.mount("tmpfs", path, "tmpfs", 0, "size=1m")
    try #require(code == 0)
  }

  /// A busy directory inside: the checkpoint is out of view, its remains are tried again.
  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)"), arguments: [false, true])
  func deleteThatFailsHalfWay(atNextStart: Bool) throws {
    let run = try Run(steps: [1, 2, 3, 4])
    try mount(run.checkpoint(2) + "/busy")
    var complaints = run.directory.prune(keeping: 1, upTo: StepMark(step: 4))
    #expect(run.steps == [4] && run.trash == 1, "\(run.names)")
    #expect(complaints.count == 1 && complaints[0].contains("step-000002.trash-"), "\(complaints)")
    complaints = run.directory.prune(keeping: 1, upTo: StepMark(step: 4))
    #expect(complaints.count == 1 && run.trash == 1, "still busy: \(complaints)")
    let trash = try #require(run.names.first { $0.contains(".trash-") })
    unsafe umount2(run.path + "/checkpoints/" + trash + "/busy", Int32(MNT_DETACH))
    if atNextStart {
      try run.directory.removeLeftovers()
    } else {
      #expect(run.directory.prune(keeping: 1, upTo: StepMark(step: 4)).isEmpty)
    }
    #expect(run.names == ["step-000004"])
  }

  /// A checkpoint that cannot even be renamed stays whole, and is tried again.
  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)")) func renameThatFails() throws {
    let run = try Run(steps: [1, 3, 4])
    try mount(run.checkpoint(2))
    try FileManager.default.createDirectory(atPath: run.checkpoint(2) + "/below", withIntermediateDirectories: true)
    for file in ["/below/a", "/b"] { try Data([1]).write(to: URL(fileURLWithPath: run.checkpoint(2) + file)) }
    let complaints = run.directory.prune(keeping: 1, upTo: StepMark(step: 4))
    #expect(complaints.count == 1 && complaints[0].contains("step-000002") && complaints[0].contains("busy"), "\(complaints)")
    #expect(run.steps == [2, 4] && run.trash == 0)
    unsafe umount2(run.checkpoint(2), Int32(MNT_DETACH))
    #expect(run.directory.prune(keeping: 1, upTo: StepMark(step: 4)).isEmpty)
    #expect(run.names == ["step-000004"])
  }

  /// A save that goes on in the background has a temporary of its own.
  @Test func temporariesStay() throws {
    let run = try Run(steps: [1, 2])
    let temporary = run.path + "/checkpoints/step-000003.tmp-1"
    try FileManager.default.createDirectory(atPath: temporary, withIntermediateDirectories: true)
    try FileManager.default.createDirectory(
      atPath: run.path + "/checkpoints/step-000001.trash-7/x", withIntermediateDirectories: true)
    #expect(run.directory.prune(keeping: 1, upTo: StepMark(step: 2)).isEmpty)
    #expect(run.names == ["step-000002", "step-000003.tmp-1"])
  }

  /// Killed at any instant of a delete, a directory under a valid name is whole.
  @Test func killedWhileDeleting() async throws {
    for pause in [0, 200, 1000, 5000] as [UInt32] {
      let run = try Run(steps: [1, 2, 3, 4, 5, 6, 7, 8])
      for step in 1...8 {
        for i in 0..<40 { try Data([1]).write(to: URL(fileURLWithPath: run.checkpoint(step) + "/below/file-\(i)")) }
      }
      await #expect(processExitsWith: .signal(SIGKILL)) { [path = run.path as String, pause = pause as UInt32] in
        Thread.detachNewThread {
          usleep(pause)
          kill(getpid(), SIGKILL)
        }
        _ = RunDirectory(path: path).prune(keeping: 1, upTo: StepMark(step: 8))
        sleep(60)
      }
      #expect(run.steps.last == 8)
      for step in run.steps {
        #expect(try FileManager.default.contentsOfDirectory(atPath: run.checkpoint(step) + "/below").count == 41)
      }
      #expect(run.directory.prune(keeping: 1, upTo: StepMark(step: 8)).isEmpty)
      #expect(run.names == ["step-000008"])
    }
  }
}
