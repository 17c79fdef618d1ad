import Synchronization

extension ParallelWork {
  /// What a piece of work tells the progress function: bytes done since the last time.
  public typealias Advance = @Sendable (Int) -> Void

  /// Results of `body` for every index of `weights`, in the order of the indices whatever the threads.
  ///
  /// - Parameters:
  ///   - weights: how much work each piece is. The largest begin first, so that no thread ends with a large one.
  ///   - progress: called by one thread at a time, never with less than before; `total` at the end.
  public static func map<Worker, Result: Sendable>(
    weights: [Int], threads: Int, total: Int, progress: (_ done: Int, _ total: Int) -> Void,
    worker: @escaping @Sendable () throws -> Worker,
    _ body: @escaping @Sendable (Worker, Int, Advance) throws -> Result
  ) throws -> [Result] {
    let order = largestFirst(weights)
    let results = ResultStorage<Result>(count: weights.count)
    try withoutActuallyEscaping(progress) { progress in
      let meter = SharedMeter(total: total, progress)
      try run(weights.count, threads: threads, worker: worker) { worker, position in
        let index = order[position]
        results.put(try body(worker, index) { meter.advance($0) }, at: index)
      }
      meter.finish()
    }
    return results.all
  }

  /// Which of `shares` does each piece: the same on every rank, shares as equal in weight as taking the largest first
  /// makes them.
  public static func shares(of weights: [Int], among shares: Int) -> [Int] {
    precondition(shares > 0, "\(shares) shares")
    var loads = [Int](repeating: 0, count: shares)
    var owners = [Int](repeating: 0, count: weights.count)
    for index in largestFirst(weights) {
      let lightest = loads.indices.min { (loads[$0], $0) < (loads[$1], $1) }!
      owners[index] = lightest
      // A piece without weight is work, too.
      loads[lightest] += max(1, weights[index])
    }
    return owners
  }

  private static func largestFirst(_ weights: [Int]) -> [Int] {
    weights.indices.sorted { (weights[$1], $0) < (weights[$0], $1) }
  }
}

private final class ResultStorage<Result: Sendable>: Sendable {
  private let values: Mutex<[Result?]>

  init(count: Int) { values = Mutex([Result?](repeating: nil, count: count)) }

  var all: [Result] { values.withLock { $0.map { $0! } } }

  func put(_ value: Result, at index: Int) { values.withLock { $0[index] = value } }
}

/// Adds up what several threads have done. Sound although the function is not made for threads: the lock lets one call
/// in at a time, and the threads end before the function's frame does.
private final class SharedMeter: @unchecked Sendable {
  private let total: Int
  private let report: (Int, Int) -> Void
  private let done = Mutex(0)

  init(total: Int, _ report: @escaping (Int, Int) -> Void) {
    self.total = total
    self.report = report
  }

  func advance(_ bytes: Int) {
    done.withLock { done in
      done = min(total, done + bytes)
      report(done, total)
    }
  }

  func finish() { advance(total) }
}
