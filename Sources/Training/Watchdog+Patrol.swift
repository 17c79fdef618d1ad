import Checkpoints
import Communication
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The thread of a watchdog. It does not own the watchdog, whose end ends it.
final class Patrol: @unchecked Sendable {
  let progress = Atomic<UInt64>(ProgressWord(step: 0, phase: .starting, unit: nil, number: 0).bits)
  let pauses = Atomic<Int>(0)
  let stalled = Atomic<Bool>(false)

  private let subject: Watchdog.Subject, limits: Watchdog.Limits
  private let standardError: Int32
  private let end: @Sendable (Int32) -> Void

  private let monitor = Monitor()
  /// Guarded by `monitor`.
  private var stopped = false

  init(
    _ subject: Watchdog.Subject, _ limits: Watchdog.Limits, _ standardError: Int32,
    _ end: @escaping @Sendable (Int32) -> Void
  ) {
    (self.subject, self.limits, self.standardError, self.end) = (subject, limits, standardError, end)
  }

  /// A thread that walks until it is stopped.
  func start() -> BackgroundThread<Void> {
    do { return try BackgroundThread { self.walk() } } catch { fatalError("the watchdog: \(error)") }
  }

  func stop() {
    monitor.locked {
      stopped = true
      monitor.wakeAll()
    }
  }

  /// Looks now and then until nothing was noted for the limit.
  private func walk() {
    let interval = min(max(limits.step / 10, 0.01), 1)
    var seen = progress.load(ordering: .relaxed), idle = 0.0, last = PhaseClock.now
    while waited(interval) {
      let now = PhaseClock.now, word = progress.load(ordering: .relaxed)
      // A look that comes late was held up as the whole process was: that time is nobody's stall.
      idle = word == seen && pauses.load(ordering: .relaxed) == 0 ? idle + min(now - last, 2 * interval) : 0
      (seen, last) = (word, now)
      let place = ProgressWord(bits: word)
      if idle >= limits.limit(of: place.phase) { return giveUp(place, after: idle) }
    }
  }

  /// Waits; false if the watchdog has ended meanwhile.
  private func waited(_ seconds: Double) -> Bool {
    let deadline = PhaseClock.now + seconds
    return monitor.locked {
      while !stopped {
        if !monitor.wait(until: deadline) { return !stopped }
      }
      return false
    }
  }

  private func giveUp(_ place: ProgressWord, after idle: Double) {
    let line =
      "mfqat: watchdog: rank \(subject.rank) of \(subject.ranks) (host \(RunEnvironment.host), pid \(getpid())): no progress for "
      + "\(Self.words(idle)) s \(place.words); aborting the job with status \(Watchdog.exitStatus)\n"
    // A reader that does not read must not keep the process alive: neither the pipe's nor a file server.
    var writable = pollfd(fd: standardError, events: Int16(POLLOUT), revents: 0)
    if unsafe poll(&writable, 1, 1000) == 1 { Self.put(line, into: standardError) }
    stalled.store(true, ordering: .releasing)
    if let directory = subject.directory {
      Self.leave(line, at: directory + "/" + Watchdog.Subject.markerName(rank: subject.rank))
    }
    // The watchdog's end does not save a job that has stalled, only a test's.
    _ = waited(limits.grace)
    end(Watchdog.exitStatus)
  }

  /// In one call: lines of ranks that share a terminal do not mix.
  private static func put(_ line: String, into file: Int32) {
    var line = line
    line.withUTF8 { bytes in unsafe _ = write(file, bytes.baseAddress, bytes.count) }
  }

  private final class Marker {
    let path: String, line: String
    init(path: String, line: String) { (self.path, self.line) = (path, line) }
  }

  /// Writes the marker from a thread that nobody waits for, in case the file server is what does not answer.
  private static func leave(_ line: String, at path: String) {
    let marker = unsafe Unmanaged.passRetained(Marker(path: path, line: line))
    var thread = pthread_t()
    let code = unsafe pthread_create(
      &thread, nil,
      { argument in
        let marker = unsafe Unmanaged<Marker>.fromOpaque(argument!).takeRetainedValue()
        let file = unsafe open(marker.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        if file >= 0 {
          Patrol.put(marker.line, into: file)
          close(file)
        }
        return nil
      }, marker.toOpaque())
    if code == 0 { pthread_detach(thread) } else { unsafe marker.release() }
  }

  /// Seconds as a person says them: 60, or 0.5 of a test.
  private static func words(_ seconds: Double) -> String {
    seconds >= 10 ? String(Int(seconds)) : String((seconds * 10).rounded() / 10)
  }
}
