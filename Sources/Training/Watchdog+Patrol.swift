import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The thread of a watchdog. It does not own the watchdog, whose end ends it.
@safe final class Patrol: @unchecked Sendable {
  let progress = Atomic<UInt64>(ProgressWord(step: 0, phase: .starting, unit: nil, number: 0).bits)
  let pauses = Atomic<Int>(0)
  let stalled = Atomic<Bool>(false)

  private let subject: Watchdog.Subject, limits: Watchdog.Limits
  private let standardError: Int32
  private let end: @Sendable (Int32) -> Void

  // Guarded by `mutex`. `woken` is signalled when it becomes true.
  private var stopped = false
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let woken = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  init(
    _ subject: Watchdog.Subject, _ limits: Watchdog.Limits, _ standardError: Int32,
    _ end: @escaping @Sendable (Int32) -> Void
  ) {
    (self.subject, self.limits, self.standardError, self.end) = (subject, limits, standardError, end)
    unsafe pthread_mutex_init(mutex, nil)
    // Waits end by the monotonic clock: setting the time of day is no progress and no stall.
    var attributes = pthread_condattr_t()
    unsafe pthread_condattr_init(&attributes)
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_cond_init(woken, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    unsafe pthread_cond_destroy(woken)
    unsafe pthread_mutex_destroy(mutex)
    unsafe mutex.deallocate()
    unsafe woken.deallocate()
  }

  static func start(_ patrol: Patrol) -> pthread_t {
    var thread = pthread_t()
    // Signals are for the threads that run the job.
    var all = sigset_t(), before = sigset_t()
    unsafe sigfillset(&all)
    unsafe pthread_sigmask(SIG_SETMASK, &all, &before)
    let code = unsafe pthread_create(
      &thread, nil,
      { argument in
        unsafe Unmanaged<Patrol>.fromOpaque(argument!).takeRetainedValue().walk()
        return nil
      }, Unmanaged.passRetained(patrol).toOpaque())
    unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
    precondition(code == 0, "pthread_create returned \(code)")
    return thread
  }

  func stop() {
    unsafe pthread_mutex_lock(mutex)
    stopped = true
    unsafe pthread_cond_signal(woken)
    unsafe pthread_mutex_unlock(mutex)
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
    let until = PhaseClock.now + seconds
    var deadline = timespec()
    deadline.tv_sec = Int(until)
    deadline.tv_nsec = Int((until - until.rounded(.down)) * 1e9)
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    while !stopped {
      if unsafe pthread_cond_timedwait(woken, mutex, &deadline) == ETIMEDOUT { return !stopped }
    }
    return false
  }

  private func giveUp(_ place: ProgressWord, after idle: Double) {
    let line =
      "mfqat: watchdog: rank \(subject.rank) of \(subject.ranks) (host \(Self.host), pid \(getpid())): no progress for "
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

  private static var host: String {
    var name = [CChar](repeating: 0, count: 256)
    guard unsafe gethostname(&name, name.count - 1) == 0 else { return "unknown" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Seconds as a person says them: 60, or 0.5 of a test.
  private static func words(_ seconds: Double) -> String {
    seconds >= 10 ? String(Int(seconds)) : String((seconds * 10).rounded() / 10)
  }
}
