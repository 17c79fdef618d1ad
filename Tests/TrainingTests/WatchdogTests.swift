import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing
import Training

/// Watchdogs with limits of a fraction of a second, which report instead of ending the process.
@Suite(.timeLimit(.minutes(1))) struct WatchdogTests {
  /// What a watchdog did.
  final class Trial: Sendable {
    private let status = Mutex<Int32?>(nil)
    let folder: String
    private let file: Int32

    init() throws {
      folder = NSTemporaryDirectory() + "/mfqat-watchdog-\(UUID().uuidString)"
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      file = unsafe open(folder + "/errors", O_WRONLY | O_CREAT, 0o600)
    }

    deinit {
      close(file)
      try? FileManager.default.removeItem(atPath: folder)
    }

    func watchdog(step: Double = 0.2, long: Double? = nil, directory: String? = nil) -> Watchdog {
      Watchdog(
        .init(rank: 3, ranks: 6, directory: directory ?? folder), limits: .init(step: step, long: long, grace: 0.1),
        standardError: file, end: { code in self.status.withLock { $0 = code } })
    }

    var ended: Int32? { status.withLock { $0 } }
    func text(_ name: String) -> String? { try? String(contentsOfFile: folder + "/" + name, encoding: .utf8) }

    /// Whether it ended within `seconds`.
    func ends(within seconds: Double) -> Bool {
      let deadline = Date(timeIntervalSinceNow: seconds)
      while ended == nil && Date() < deadline { usleep(5000) }
      return ended != nil
    }
  }

  @Test func aStallIsNamedAndEndsTheRank() throws {
    let trial = try Trial()
    let watchdog = trial.watchdog()
    watchdog.note(.waitingForGradients, step: 12, unit: 4)
    let start = Date()
    #expect(trial.ends(within: 20) && watchdog.hasStalled)
    #expect(Date().timeIntervalSince(start) > 0.15)
    #expect(trial.ended == Watchdog.exitStatus && Watchdog.exitStatus == 75)

    let line = try #require(trial.text("errors"))
    #expect(line.hasPrefix("mfqat: watchdog: rank 3 of 6 (host "), "\(line)")
    #expect(line.contains(", pid \(getpid())): no progress for 0."), "\(line)")
    #expect(
      line.hasSuffix(" s in step 12, waiting for gradients of unit 4; aborting the job with status 75\n"), "\(line)")
    #expect(line.count { $0 == "\n" } == 1)
    #expect(trial.text("stalled-rank-003.txt") == line)
  }

  @Test func notesKeepItQuiet() throws {
    let trial = try Trial()
    let watchdog = trial.watchdog(step: 1)
    // The same place again and again is progress, too: rounds of one phase.
    for _ in 0..<160 {
      watchdog.note(.forward, step: 1)
      usleep(10_000)
    }
    #expect(trial.ended == nil && trial.text("errors") == "" && !watchdog.hasStalled)
    #expect(trial.ends(within: 20))
    #expect(trial.text("errors")?.contains("in step 1, computing forward; aborting") == true)
  }

  @Test func pausesAndLongPhasesMayTakeLonger() throws {
    let trial = try Trial()
    let watchdog = trial.watchdog(step: 0.1, long: 1000)
    #expect(!trial.ends(within: 0.5), "starting is long")
    watchdog.note(.updating, step: 2)
    watchdog.pause()
    #expect(!trial.ends(within: 0.5))
    watchdog.pause()
    watchdog.resume()
    #expect(!trial.ends(within: 0.3), "paused twice, resumed once")
    watchdog.resume()
    watchdog.note(.saving, step: 2)
    #expect(!trial.ends(within: 0.5))
    watchdog.note(.updating, step: 2)
    #expect(trial.ends(within: 20))
    #expect(trial.text("errors")?.contains("in step 2, updating; aborting") == true)
  }

  @Test func itsEndIsTheEnd() throws {
    let trial = try Trial()
    do {
      let watchdog = trial.watchdog(step: 60)
      watchdog.note(.forward, step: 1)
    }
    let start = Date()
    for _ in 0..<20 { trial.watchdog(step: 0.1).note(.forward, step: 1) }
    #expect(Date().timeIntervalSince(start) < 10, "the thread is woken, not waited for")
    usleep(300_000)
    #expect(trial.ended == nil && trial.text("errors") == "")
  }

  @Test func aMissingDirectoryDoesNotStopIt() throws {
    let trial = try Trial()
    let watchdog = trial.watchdog(step: 0.1, directory: trial.folder + "/absent")
    watchdog.note(.waitingForWeights, step: 7)
    #expect(trial.ends(within: 20))
  }

  @Test(.enabled(if: AllocationCounter.isAvailable, "\(AllocationCounter.absence)"))
  func notingCostsNothing() throws {
    let trial = try Trial()
    let watchdog = trial.watchdog(step: 60)
    let rounds = 1_000_000
    var before = timespec(), after = timespec()
    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before)
    let allocations = AllocationCounter.count {
      for round in 0..<rounds { watchdog.note(.backward, step: round, unit: round & 31) }
    }
    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after)
    let seconds = Double(after.tv_sec - before.tv_sec) + Double(after.tv_nsec - before.tv_nsec) * 1e-9
    print("a note takes \((seconds / Double(rounds) * 1e10).rounded() / 10) ns")
    #expect(allocations == 0)
    #expect(seconds < 1, "microseconds, not nanoseconds")
  }

  /// The whole of it, in a process of its own.
  @Test func theProcessEnds() async {
    await #expect(processExitsWith: .exitCode(75)) {
      let watchdog = Watchdog(.init(rank: 0, ranks: 1, directory: nil), limits: .init(step: 0.1, grace: 0.1))
      watchdog.note(.waitingForControl, step: 1)
      sleep(30)
      withExtendedLifetime(watchdog) {}
    }
  }
}
