/// One long text as token ids: from a token file or from memory.
public enum TokenStream: Sendable {
  case file(TokenFile)
  case memory([Int32])

  public var count: Int {
    switch self {
    case .file(let file): file.count
    case .memory(let ids): ids.count
    }
  }

  public subscript(index: Int) -> Int32 {
    switch self {
    case .file(let file): file[index]
    case .memory(let ids): ids[index]
    }
  }

  /// Where the tokens are from, for messages.
  public var name: String {
    switch self {
    case .file(let file): file.path
    case .memory: "tokens in memory"
    }
  }

  /// Copies `destination.count` tokens from `start` on.
  public func copy(from start: Int, into destination: inout MutableSpan<Int32>) {
    precondition(
      start >= 0 && start + destination.count <= count,
      "tokens \(start)..<\(start + destination.count) of \(count) in \(name)")
    for index in destination.indices { destination[index] = self[start + index] }
  }
}
