import Checkpoints
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Ends a rank that makes no progress, so that a job behind a dead link ends and can be started again.
///
/// MPI reports a dead process within seconds, a dead link not at all: every rank waits in a collective for ever. So
/// each rank notes where it is, and a thread of its own looks whether notes still come. If none came for the limit it
///
/// 1. writes one line to standard error,
/// 2. writes the same line to `stalled-rank-NNN.txt` in the run's directory, for whoever supervises the job,
/// 3. waits `grace` seconds, so that the watchdogs of the other ranks can speak before the launcher ends them,
/// 4. ends the process with `exitStatus`. By `_exit`: this is not the thread that may call MPI, and that one may be
///    inside it.
///
/// Time in which the whole process could not run (stopped, machine suspended) does not count.
///
/// Ranks wait for each other, so a phase is what the job does, not this rank alone: while the root saves, all ranks are
/// `.saving`, or those that wait are taken for stalled.
public final class Watchdog: Sendable {
  /// Of a process ended by its watchdog: EX_TEMPFAIL, trying again may help.
  public static let exitStatus: Int32 = 75

  /// Who is watched.
  public struct Subject: Sendable {
    public let rank: Int, ranks: Int
    /// Where the marker file goes; nil for none.
    public let directory: String?

    public init(rank: Int, ranks: Int, directory: String?) {
      (self.rank, self.ranks, self.directory) = (rank, ranks, directory)
    }

    /// The file in `directory` that says that rank `rank` stalled.
    public static func markerName(rank: Int) -> String {
      let digits = String(rank)
      return markerPrefix + String(repeating: "0", count: max(0, 3 - digits.count)) + digits + ".txt"
    }

    static let markerPrefix = "stalled-rank-"
  }

  /// How long is too long, in seconds.
  public struct Limits: Sendable {
    /// Without a note in phases of a step, and in long ones (`StepPhase.isLong`).
    public let step: Double, long: Double
    /// Between the line and the end.
    public let grace: Double

    /// - Parameter long: ten times `step` unless given.
    public init(step: Double, long: Double? = nil, grace: Double = 2) {
      precondition(step > 0 && grace >= 0, "limits of \(step) s and \(grace) s")
      (self.step, self.long, self.grace) = (step, max(step, long ?? 10 * step), grace)
    }

    func limit(of phase: StepPhase) -> Double { phase.isLong ? long : step }
  }

  private let patrol: Patrol
  private let thread: BackgroundThread<Void>

  /// Starts watching.
  /// - Parameters:
  ///   - standardError: the file descriptor of the line.
  ///   - end: what to do instead of ending the process, for tests.
  public init(
    _ subject: Subject, limits: Limits, standardError: Int32 = 2, end: (@Sendable (Int32) -> Void)? = nil
  ) {
    patrol = Patrol(subject, limits, standardError, end ?? { _exit($0) })
    thread = patrol.start()
  }

  /// Stops watching, and waits until the thread has gone.
  deinit {
    patrol.stop()
    try? thread.join()
  }

  /// Notes that the rank got here; also when nothing changed, such as the next round of the same phase. A load and
  /// a store: no lock, no allocation.
  ///
  /// For one thread; of two at once only one note may count.
  /// - Parameters:
  ///   - step: from 1; 0 before the first.
  ///   - unit: below 65,535.
  public func note(_ phase: StepPhase, step: Int, unit: Int? = nil) {
    let last = ProgressWord(bits: patrol.progress.load(ordering: .relaxed))
    let word = ProgressWord(step: step, phase: phase, unit: unit, number: last.number &+ 1)
    patrol.progress.store(word.bits, ordering: .relaxed)
  }

  /// Until as many calls of `resume()` nothing is too long. For work whose length nobody can know.
  public func pause() { patrol.pauses.wrappingAdd(1, ordering: .relaxed) }

  /// The limit counts from here on.
  public func resume() {
    let (_, left) = patrol.pauses.wrappingSubtract(1, ordering: .relaxed)
    precondition(left >= 0, "resume() without pause()")
  }

  /// Whether the line has been written: only tests live to see it.
  public var hasStalled: Bool { patrol.stalled.load(ordering: .acquiring) }
}
