#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A thread of its own for the world communicator, for programs that cannot promise to come back on one thread.
///
/// A command-line trainer needs none of this: its `main` is synchronous and communicates from the main thread. A test
/// runner does: its tests hop over a thread pool, and on Linux even the main actor is served by changing threads,
/// while MPI at `MPI_THREAD_FUNNELED` wants all calls from one. Jobs run one after another in the order of `run` calls;
/// under MPI all ranks must make them in the same order.
@safe public final class WorldThread: @unchecked Sendable {
  /// Started at first use; calls `Communicator.world()` there.
  public static let shared = WorldThread()

  private let monitor = Monitor()
  /// Guarded by `monitor`: jobs waiting, oldest first, and the number of jobs taken up and done so far.
  private var jobs: [(Result<Communicator, any Error>) -> Void] = []
  private var submitted = 0
  private var done = 0

  private init() {
    var thread = pthread_t()
    let code = unsafe pthread_create(
      &thread, nil,
      { argument in
        unsafe Unmanaged<WorldThread>.fromOpaque(argument!).takeRetainedValue().serve()
      }, Unmanaged.passRetained(self).toOpaque())
    precondition(code == 0, "pthread_create returned \(code)")
  }

  /// Runs `body` with the world communicator on its thread and returns what it returns; blocks until then.
  public func run<Value: Sendable>(_ body: @escaping @Sendable (Communicator) throws -> Value) throws -> Value {
    let outcome = Outcome<Value>()
    monitor.locked {
      jobs.append { world in outcome.result = Result { try body(world.get()) } }
      submitted += 1
      let ticket = submitted
      monitor.wakeAll()
      while done < ticket { monitor.wait() }
    }
    return try outcome.result!.get()
  }

  private func serve() -> Never {
    let world = Result { () throws -> Communicator in try Communicator.world() }
    while true {
      let job = monitor.locked {
        while jobs.isEmpty { monitor.wait() }
        return jobs.removeFirst()
      }
      job(world)
      monitor.locked {
        done += 1
        monitor.wakeAll()
      }
    }
  }
}

/// Written by the serving thread before it counts the job as done, read by the waiting one after it saw that.
private final class Outcome<Value: Sendable>: @unchecked Sendable {
  var result: Result<Value, any Error>?
}
