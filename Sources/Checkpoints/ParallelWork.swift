import Glibc
import Synchronization

/// Work on many pieces by a few threads that live as long as it takes: for reading and checking files, not for arithmetic.
public enum ParallelWork {
  /// Processors of this machine.
  public static var processors: Int {
    max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  }

  /// Runs `body` for 0 ..< count; pieces are taken in order by whichever thread is free. After an error no further
  /// piece is begun, and the error of the lowest piece that failed is thrown when all threads have ended.
  ///
  /// The calling thread takes its share, so that there are never more than `threads` or `count` at work.
  ///
  /// - Parameters:
  ///   - threads: at least 1.
  ///   - worker: makes what a thread needs for itself.
  ///   - body: gets that and the index of the piece; on any thread, each index once.
  public static func run<Worker>(
    _ count: Int, threads: Int, worker: @escaping @Sendable () throws -> Worker,
    _ body: @escaping @Sendable (Worker, Int) throws -> Void
  ) throws {
    precondition(threads > 0, "\(threads) threads")
    let next = TicketCounter()
    let work: @Sendable () -> Failure? = {
      var piece = -1
      do {
        let worker = try worker()
        while true {
          piece = next.take()
          guard piece < count else { return nil }
          try body(worker, piece)
        }
      } catch {
        next.close()
        return Failure(piece: piece, error: error)
      }
    }
    // This thread takes its share, and that of threads that the system does not allow.
    let others = (1..<max(1, min(threads, count))).compactMap { _ in try? BackgroundThread(work) }
    var failures = [work()]
    for thread in others { failures.append(try thread.join()) }
    if let first = failures.compactMap(\.self).min(by: { $0.piece < $1.piece }) { throw first.error }
  }

  private struct Failure: Sendable {
    let piece: Int
    let error: any Error
  }
}

private final class TicketCounter: Sendable {
  private let next = Atomic<Int>(0)

  func take() -> Int { next.add(1, ordering: .relaxed).oldValue }
  func close() { next.store(.max / 2, ordering: .relaxed) }
}
