import CKernels

/// Threads of one rank that share the loops of the kernels: fork, join, nothing else.
///
/// Results never depend on it. An item of a loop is a fixed piece of the output, cut without regard to the number of
/// threads, and its arithmetic does not look at who computes the others. So a loop may also run on the calling thread
/// alone, and does: with one thread, inside another loop, and while another thread of the process runs one.
///
///     ThreadTeam.configure(threads: 4)  // once, before anything is laid out that has scratch for each thread
@safe public struct ThreadTeam: Sendable {
  public static let shared = ThreadTeam()

  private init() {}

  /// Threads of a loop from now on, the calling one included. Without, there is one.
  ///
  /// The threads stay until the process ends; asleep, unless a loop ran in the last tens of microseconds. Fewer than
  /// asked where the system refuses to start them.
  public static func configure(threads: Int) {
    precondition(threads >= 1 && threads <= Int(CK_TEAM_LIMIT), "a team of \(threads) threads")
    _ = ck_team_configure(Int64(threads))
  }

  /// Threads that a loop may run on.
  public var threads: Int { Int(ck_team_size()) }

  /// Runs `body(item, worker)` for every item in `0..<count` and returns when all are done. No two items of the same
  /// worker, `0..<workers`, run at a time: scratch goes by worker.
  ///
  /// Items run beside each other whatever the compiler believes of the closure: they must not write what another one
  /// reads or writes.
  @inline(__always)
  package func parallel(_ count: Int, workers: Int = .max, _ body: (_ item: Int, _ worker: Int) -> Void) {
    unsafe runTeam(count, workers, body)
  }

  /// Runs `body` for `0..<count` in ranges of `grain` items, the last one shorter.
  @inline(__always)
  package func parallel(_ count: Int, by grain: Int, _ body: (_ range: Range<Int>) -> Void) {
    let pieces = (count + grain - 1) / grain
    guard pieces > 1 && threads > 1 else {
      if count > 0 { body(0..<count) }
      return
    }
    unsafe runTeam(pieces, .max) { piece, _ in body(piece * grain..<min(count, (piece + 1) * grain)) }
  }
}

/// `ck_team_run` of Sources/CKernels/team. The closure crosses as Swift passes it, code and context in two registers:
/// the only way for one that does not escape to reach C without an allocation.
@_silgen_name("ck_team_run")
@unsafe private func runTeam(_ count: Int, _ workers: Int, _ body: (Int, Int) -> Void)
