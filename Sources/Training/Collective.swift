import Communication

extension Communicator {
  /// Runs `work` on the root; if it throws, every rank throws with the root's reason. Nobody waits for a peer that has
  /// failed.
  func onRoot(_ work: () throws -> Void) throws {
    var failure: (any Error)?
    if isRoot {
      do { try work() } catch { failure = error }
    }
    let text = try broadcast(Array((failure.map { "\($0)" } ?? "").utf8))
    if let failure { throw failure }
    if !text.isEmpty { throw PeerFailure(text: "rank 0: " + String(decoding: text, as: UTF8.self)) }
  }

  /// Runs `work` on every rank; if it throws anywhere, every rank throws: those that failed their own error, the others
  /// the first failed rank's reason.
  func onEveryRank<Result>(_ work: () throws -> Result) throws -> Result {
    var result: Result?
    var failure: (any Error)?
    do { result = try work() } catch { failure = error }
    guard try agree(on: failure != nil) else { return result! }
    let texts = try gatherStrings(failure.map { "\($0)" } ?? "")
    let first = texts.firstIndex { !$0.isEmpty }.map { "rank \($0): \(texts[$0])" } ?? ""
    let reason = try broadcast(Array(first.utf8))
    if let failure { throw failure }
    throw PeerFailure(text: String(decoding: reason, as: UTF8.self))
  }
}

/// Another rank could not go on.
struct PeerFailure: Error, CustomStringConvertible {
  let text: String
  var description: String { text }
}
