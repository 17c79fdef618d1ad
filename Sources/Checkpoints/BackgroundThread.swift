import Glibc
import Synchronization

/// A thread that does one piece of work and gives its result: for what must go on beside the thread that communicates.
///
/// It never gets a signal: those are for the threads that run the job.
@safe public final class BackgroundThread<Value: Sendable>: @unchecked Sendable {
  private let thread: pthread_t
  private let outcome = ThreadOutcome<Value>()

  /// Begins at once. The thread goes on when this object is gone; whoever needs the end calls `join`.
  /// - Throws: where the system allows no further thread.
  public init(_ work: @escaping @Sendable () throws -> Value) throws(CheckpointError) {
    let outcome = outcome
    let body = ThreadBody {
      outcome.result = Result { try work() }
      outcome.isThere.store(true, ordering: .releasing)
    }
    var all = sigset_t(), before = sigset_t(), thread = pthread_t()
    unsafe sigfillset(&all)
    unsafe pthread_sigmask(SIG_SETMASK, &all, &before)
    let code = unsafe pthread_create(
      &thread, nil,
      { argument in
        unsafe Unmanaged<ThreadBody>.fromOpaque(argument!).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(body).toOpaque())
    unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
    guard code == 0 else {
      unsafe Unmanaged.passUnretained(body).release()
      throw CheckpointError("start a thread", found: errnoText(code), hint: "Allow more processes (ulimit -u, cgroup pids.max)")
        .because(.system)
    }
    self.thread = thread
  }

  /// Whether the work is done, without waiting for it.
  public var isFinished: Bool { outcome.isThere.load(ordering: .acquiring) }

  /// Waits for the end, and gives the result or throws what the work threw. Call it once.
  public func join() throws -> Value {
    pthread_join(thread, nil)
    return try outcome.result!.get()
  }
}

/// Written by the thread before it ends, read after the flag has been seen or the thread joined.
private final class ThreadOutcome<Value: Sendable>: @unchecked Sendable {
  var result: Result<Value, any Error>?
  let isThere = Atomic<Bool>(false)
}

private final class ThreadBody: Sendable {
  let run: @Sendable () -> Void
  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}
