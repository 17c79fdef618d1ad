#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Writes a token file under a temporary name beside it and renames it into place when it is complete and on disk.
@safe struct TokenFileWriter: ~Copyable {
  private static let operation = "writing a token file"

  private let path: String
  private let temporary: String
  private let descriptor: Int32
  private var header: TokenFileHeader
  private let hash = RunningHash()
  private var buffer: [UInt8] = []
  private var isFinished = false

  init(_ path: String, vocabularySize: Int, tokenizerHash: String) throws(TextError) {
    precondition(vocabularySize >= 0 && vocabularySize <= Int(Int32.max), "vocabulary of \(vocabularySize)")
    guard let tokenizerHash = ContentHash.Wide(hexadecimal: tokenizerHash) else {
      preconditionFailure("tokenizer hash \(tokenizerHash): 32 hexadecimal digits are needed")
    }
    self.path = path
    temporary = "\(path).\(getpid()).partial"
    descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    let none = ContentHash.Wide(high: 0, low: 0)
    header = TokenFileHeader(
      width: vocabularySize <= 1 << 16 ? 2 : 4, count: 0, vocabularySize: vocabularySize,
      tokenizerHash: tokenizerHash, textHash: none, tokensHash: none)
    guard descriptor >= 0 else {
      isFinished = true
      throw FileBytes.failure(Self.operation, temporary, expected: "a file to create")
    }
    // The true header comes last: a file without it is no token file.
    buffer = [UInt8](repeating: 0, count: TokenFileHeader.byteCount)
    try flush(isTokens: false)
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
    if !isFinished { unsafe unlink(temporary) }
  }

  /// - Precondition: every id is in the vocabulary.
  mutating func append(_ ids: [Int32]) throws(TextError) {
    for id in ids {
      precondition(id >= 0 && Int(id) < header.vocabularySize, "token \(id) of \(header.vocabularySize)")
      for shift in stride(from: 0, to: 8 * header.width, by: 8) { buffer.append(UInt8(truncatingIfNeeded: id >> shift)) }
      header.count += 1
      if buffer.count >= 1 << 20 { try flush(isTokens: true) }
    }
  }

  mutating func finish(textHash: String) throws(TextError) {
    guard let textHash = ContentHash.Wide(hexadecimal: textHash) else {
      preconditionFailure("text hash \(textHash): 32 hexadecimal digits are needed")
    }
    try flush(isTokens: true)
    header.textHash = textHash
    header.tokensHash = hash.value
    let bytes = header.encoded
    let written = unsafe bytes.withUnsafeBytes { unsafe pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    guard written == bytes.count, fsync(descriptor) == 0 else {
      throw FileBytes.failure(Self.operation, temporary, expected: "room and a disk that takes it")
    }
    guard unsafe rename(temporary, path) == 0 else {
      throw FileBytes.failure(Self.operation, path, expected: "a name that \(temporary) can have")
    }
    isFinished = true
    try FileBytes.synchronizeFolder(of: path, operation: Self.operation)
  }

  private mutating func flush(isTokens: Bool) throws(TextError) {
    var offset = 0
    while offset < buffer.count {
      let count = unsafe buffer.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress! + offset, $0.count - offset) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        throw FileBytes.failure(Self.operation, temporary, expected: "room for \(buffer.count - offset) more bytes")
      }
      offset += count
    }
    if isTokens { unsafe buffer.withUnsafeBytes { unsafe hash.update($0) } }
    buffer.removeAll(keepingCapacity: true)
  }
}

extension TokenFile {
  /// Tokenizes a text as one stream without special tokens and writes it, replacing what is at `path`.
  ///
  /// The text is encoded in one: no cut into files or chunks can change a token.
  /// - Returns: the number of tokens.
  @discardableResult
  public static func write(_ text: TextSource, with tokenizer: Tokenizer, to path: String) throws(TextError) -> Int {
    try write(
      try tokenizer.encode(utf8: text.utf8), vocabularySize: tokenizer.vocabularySize,
      tokenizerHash: tokenizer.contentHash, textHash: text.contentHash, to: path)
  }

  /// Writes ids that are already there.
  /// - Parameters:
  ///   - tokenizerHash: `Tokenizer.contentHash`.
  ///   - textHash: `TextSource.contentHash`.
  @discardableResult
  public static func write(
    _ ids: [Int32], vocabularySize: Int, tokenizerHash: String, textHash: String, to path: String
  ) throws(TextError) -> Int {
    var writer = try TokenFileWriter(path, vocabularySize: vocabularySize, tokenizerHash: tokenizerHash)
    try writer.append(ids)
    try writer.finish(textHash: textHash)
    return ids.count
  }
}
