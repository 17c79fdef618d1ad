public import Communication

/// A failure that every rank knows of and throws at the same place; one of them speaks.
public struct CollectiveFailure: Error, CustomStringConvertible {
  /// The reason; on the ranks where nothing failed, the first failed rank's in words.
  public let underlying: any Error
  /// True on one rank: its message is the job's.
  public let speaks: Bool

  public var description: String { "\(underlying)" }
}

/// Another rank could not go on.
struct PeerFailure: Error, CustomStringConvertible {
  let description: String
}

extension Communicator {
  /// Runs `work` on every rank; if it throws anywhere, every rank throws, and nobody waits for a peer that has failed.
  public func onEveryRank<Result>(_ work: () throws -> Result) throws -> Result {
    var result: Result?
    var failure: (any Error)?
    do { result = try work() } catch { failure = error }
    guard try agree(on: failure != nil) else { return result! }
    let texts = try gatherStrings(failure.map { "\($0)" } ?? "")
    let first = try broadcast(Int64(texts.firstIndex { !$0.isEmpty } ?? 0))
    let text = try broadcast(Array((isRoot ? texts[Int(first)] : "").utf8))
    let reason = failure ?? PeerFailure(description: "rank \(first): " + String(decoding: text, as: UTF8.self))
    throw CollectiveFailure(underlying: (reason as? CollectiveFailure)?.underlying ?? reason, speaks: rank == Int(first))
  }

  /// Runs `work` on the root; if it throws, every rank throws.
  public func onRoot(_ work: () throws -> Void) throws {
    try onEveryRank { if isRoot { try work() } }
  }
}
