/// What went wrong between ranks: a call of the MPI library that failed, a launch that cannot work, ranks that disagree.
///
/// A rank that catches one cannot know where its peers are; unless every rank is known to throw the same error (the doc
/// comment of the call says so), end the job with `Communicator.fail(code:reason:)`.
public struct CommunicationError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The call, by its MPI name or ours: `MPI_Allgatherv`, `requireEqual(configuration)`.
  public let call: String
  /// The rank it happened on and the number of ranks; rank -1 before MPI is up.
  public let rank: Int
  public let size: Int
  /// The MPI return code where there is one.
  public let code: Int32?
  /// What was found, in words; the MPI library's own text for its codes.
  public let found: String
  /// What to do about it; may be empty.
  public let hint: String

  public init(call: String, rank: Int, size: Int, code: Int32? = nil, found: String, hint: String = "") {
    self.call = call
    self.rank = rank
    self.size = size
    self.code = code
    self.found = found
    self.hint = hint
  }

  public var description: String {
    let place = rank < 0 ? "" : " on rank \(rank) of \(size)"
    let number = code.map { " (MPI code \($0))" } ?? ""
    return "\(call)\(place): \(found)\(number)" + (hint.isEmpty ? "" : ". \(hint)")
  }
}
