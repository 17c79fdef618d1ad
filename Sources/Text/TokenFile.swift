#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A text as token ids in a file, mapped into memory: opening costs nothing, reading costs what is read.
///
/// The layout is in `TokenFileHeader`. Opening checks the header and the size; `verify` reads everything.
///
/// Sharing is sound: the mapping is private, read only and lives as long as the object. Whoever shortens the file
/// meanwhile makes reads fault; writers here never do, they rename a new file over the old one.
@safe public final class TokenFile: @unchecked Sendable {
  public let path: String
  public let count: Int
  /// Every id is below it.
  public let vocabularySize: Int
  /// XXH3-128 of the `tokenizer.json`, as `Tokenizer.contentHash`.
  public let tokenizerHash: String
  /// XXH3-128 of the text, as `TextSource.contentHash`.
  public let textHash: String
  /// Bytes a token: 2 or 4.
  public let width: Int

  private let header: TokenFileHeader
  private let mapping: UnsafeRawPointer
  private let size: Int

  /// Opens and maps the file. Refuses what is not a token file, is truncated, or has a damaged header.
  public init(_ path: String) throws(TextError) {
    let operation = "opening a token file"
    // O_NONBLOCK: a pipe of that name must not hang the program before the kind is checked.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw FileBytes.failure(operation, path, expected: "a readable file") }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
      throw FileBytes.failure(operation, path, expected: "a file")
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw TextError(.malformed, operation: operation, path: path, expected: "a regular file", found: "something else")
    }
    size = Int(status.st_size)
    var first = [UInt8](repeating: 0, count: TokenFileHeader.byteCount)
    let got = unsafe first.withUnsafeMutableBytes { unsafe pread(descriptor, $0.baseAddress, $0.count, 0) }
    guard got >= 0 else { throw FileBytes.failure(operation, path, expected: "a readable file") }
    header = try TokenFileHeader.read(Array(first[..<got]), fileSize: size, path: path)
    guard let mapped = unsafe mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0),
      unsafe mapped != MAP_FAILED
    else { throw FileBytes.failure(operation, path, expected: "\(size) bytes to be mapped") }
    unsafe mapping = UnsafeRawPointer(mapped)
    self.path = path
    count = header.count
    width = header.width
    vocabularySize = header.vocabularySize
    tokenizerHash = header.tokenizerHash.hexadecimal
    textHash = header.textHash.hexadecimal
  }

  deinit { unsafe munmap(UnsafeMutableRawPointer(mutating: mapping), size) }

  private var tokens: UnsafeRawPointer { unsafe mapping + TokenFileHeader.byteCount }

  public subscript(index: Int) -> Int32 {
    precondition(index >= 0 && index < count, "token \(index) of \(count) in \(path)")
    // The file's size was checked against `count`; its integers are little-endian like every host we build for.
    return unsafe width == 2
      ? Int32(UInt16(littleEndian: tokens.load(fromByteOffset: 2 * index, as: UInt16.self)))
      : Int32(bitPattern: UInt32(littleEndian: tokens.load(fromByteOffset: 4 * index, as: UInt32.self)))
  }

  /// Reads all tokens: their hash, and that every id is in the vocabulary.
  public func verify() throws(TextError) {
    func refusal(_ expected: String, _ found: String) -> TextError {
      TextError(
        .inconsistent, operation: "verifying a token file", path: path, expected: expected, found: found,
        advice: "the file is damaged; write it anew with `mfqat prepare`")
    }
    let bytes = unsafe Span<UInt8>(_unsafeStart: tokens.assumingMemoryBound(to: UInt8.self), count: count * width)
    let hash = ContentHash.wide(bytes)
    guard hash == header.tokensHash else {
      throw refusal("tokens with hash \(header.tokensHash.hexadecimal)", hash.hexadecimal)
    }
    for index in 0..<count where self[index] < 0 || self[index] >= Int32(clamping: vocabularySize) {
      throw refusal("ids below \(vocabularySize)", "\(self[index]) at token \(index)")
    }
  }
}
