/// A failure that every rank knows of and throws at the same place; one of them speaks.
public struct CollectiveFailure: Error, CustomStringConvertible {
  /// The reason; on the ranks where nothing failed, the first failed rank's in words.
  public let underlying: any Error
  /// True on one rank: its message is the job's.
  public let speaks: Bool

  public init(underlying: any Error, speaks: Bool) {
    self.underlying = underlying
    self.speaks = speaks
  }

  public var description: String { "\(underlying)" }
}

/// Another rank could not go on.
public struct PeerFailure: Error, CustomStringConvertible {
  public let description: String

  public init(description: String) { self.description = description }
}

/// Ranks do not see the same thing.
struct DisagreementError: Error, CustomStringConvertible {
  let description: String
}

extension Communicator {
  /// Runs `work` on every rank; if it throws anywhere, every rank throws, and nobody waits for a peer that has failed.
  ///
  /// `work` must not communicate: a rank that fails before a collective would leave the others in it.
  public func onEveryRank<Result>(_ work: () throws -> Result) throws -> Result {
    var result: Result?
    var failure: (any Error)?
    do { result = try work() } catch { failure = error }
    guard try agree(on: failure != nil) else { return result! }
    let texts = try gatherStrings(failure.map { "+\($0)" } ?? "")
    let first = try broadcast(Int64(texts.firstIndex { !$0.isEmpty } ?? 0))
    let text = try broadcast(Array((isRoot ? String(texts[Int(first)].dropFirst()) : "").utf8))
    let reason = failure ?? PeerFailure(description: "rank \(first): " + String(decoding: text, as: UTF8.self))
    throw CollectiveFailure(
      underlying: (reason as? CollectiveFailure)?.underlying ?? reason, speaks: rank == Int(first))
  }

  /// Runs `work` on the root; if it throws, every rank throws.
  public func onRoot(_ work: () throws -> Void) throws {
    try onEveryRank { if isRoot { try work() } }
  }

  /// What the root's `work` returns, on every rank: for whatever ranks could see differently, like a folder's contents.
  public func fromRoot(_ work: () throws -> String) throws -> String {
    let text = try onEveryRank { isRoot ? try work() : "" }
    return String(decoding: try broadcast(Array(text.utf8)), as: UTF8.self)
  }

  /// Throws on every rank alike unless all pass the same text.
  ///
  /// - Parameters:
  ///   - what: the thing compared, with its article.
  ///   - difference: says in words how one rank's text differs from rank 0's.
  public func requireSame(
    _ text: String, what: String, hint: String, difference: (_ found: String, _ root: String) -> String
  ) throws {
    do {
      try requireEqual(Array(text.utf8), what: what)
    } catch {
      // Where the transport has failed nobody knows where the others are: that is no collective failure.
      guard error.code == nil, error.call.hasPrefix("requireEqual") else { throw error }
      let texts = try gatherStrings(text)
      let words = try fromRoot {
        let other = texts.indices.first { texts[$0] != texts[0] } ?? 0
        return "rank \(other): \(what) differs from rank 0: \(difference(texts[other], texts[0])). \(hint)"
      }
      throw CollectiveFailure(underlying: DisagreementError(description: words), speaks: isRoot)
    }
  }

  /// The same for short texts, which are shown.
  public func requireSame(_ text: String, what: String, hint: String) throws {
    try requireSame(text, what: what, hint: hint) { "\($0) instead of \($1)" }
  }
}
