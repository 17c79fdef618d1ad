/// How an elementwise reduction over ranks combines.
enum Reduction {
  /// Exact only where at most one rank holds a nonzero: the order of a float sum is the library's own.
  case sumDouble
  case sumInt64, maximumInt64, minimumInt64
}

/// What carries bytes between ranks: MPI, the threads of this process, or nothing (one rank).
///
/// Every call is collective and blocking, except those on an `Exchange`; all ranks make the same calls in the same order.
/// Counts are bytes, one per rank; segments lie rank after rank without gaps. Buffers may not overlap unless a call says so.
protocol Transport: AnyObject {
  var rank: Int { get }
  var size: Int { get }

  func barrier() throws(CommunicationError)

  func broadcast(_ kind: Traffic, _ bytes: UnsafeMutableRawPointer, count: Int, root: Int) throws(CommunicationError)

  /// `own == nil`: this rank's segment already lies in its place in `all`.
  func allGather(
    _ kind: Traffic, own: UnsafeRawPointer?, all: UnsafeMutableRawPointer, counts: UnsafePointer<Int64>
  ) throws(CommunicationError)

  /// In place, over `count` elements of 8 bytes.
  func reduce(
    _ kind: Traffic, _ values: UnsafeMutableRawPointer, count: Int, by reduction: Reduction
  ) throws(CommunicationError)

  /// `all` and `counts` are read on the root alone.
  func gather(
    _ kind: Traffic, own: UnsafeRawPointer, count: Int, all: UnsafeMutableRawPointer,
    counts: UnsafePointer<Int64>, root: Int
  ) throws(CommunicationError)

  /// The ranks that share memory with this one.
  func sharingMemory() throws(CommunicationError) -> any Transport

  /// The ranks that pass the same color, in the order of `key`, then of ranks. Collective.
  func split(color: Int, key: Int) throws(CommunicationError) -> any Transport

  func makeExchange(_ kind: Traffic) throws(CommunicationError) -> any Exchange

  /// Ends every rank; the launcher returns `code`.
  func abort(code: Int32) -> Never
}
