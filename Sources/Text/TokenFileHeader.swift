/// The first 128 bytes of a token file, little-endian:
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 8 | `MFQTOKEN` |
/// | 8 | 4 | version, 1 |
/// | 12 | 4 | bytes a token: 2 (vocabulary up to 65,536) or 4 |
/// | 16 | 8 | number of tokens |
/// | 24 | 8 | vocabulary size: every id is below it |
/// | 32 | 16 | XXH3-128 of the `tokenizer.json`, high half first |
/// | 48 | 16 | XXH3-128 of the text in UTF-8 |
/// | 64 | 16 | XXH3-128 of the tokens as they are in the file |
/// | 80 | 40 | zero |
/// | 120 | 8 | XXH3-64 of the 120 bytes before |
///
/// The tokens follow at offset 128, unsigned, and nothing after them.
struct TokenFileHeader: Equatable {
  static let byteCount = 128
  static let version: UInt32 = 1
  static let magic = Array("MFQTOKEN".utf8)

  var width: Int
  var count: Int
  var vocabularySize: Int
  var tokenizerHash: ContentHash.Wide
  var textHash: ContentHash.Wide
  var tokensHash: ContentHash.Wide

  var encoded: [UInt8] {
    var bytes = Self.magic
    func append<Value: FixedWidthInteger>(_ value: Value) {
      for shift in stride(from: 0, to: Value.bitWidth, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }
    append(Self.version)
    append(UInt32(width))
    append(UInt64(count))
    append(UInt64(vocabularySize))
    for hash in [tokenizerHash, textHash, tokensHash] {
      append(hash.high)
      append(hash.low)
    }
    bytes += [UInt8](repeating: 0, count: Self.byteCount - 8 - bytes.count)
    append(ContentHash.narrow(bytes.span))
    return bytes
  }

  /// - Parameters:
  ///   - bytes: the first 128 bytes of the file, or all of a shorter one.
  ///   - fileSize: in bytes.
  static func read(_ bytes: [UInt8], fileSize: Int, path: String) throws(TextError) -> TokenFileHeader {
    func refusal(_ kind: TextError.Kind, _ expected: String, _ found: String) -> TextError {
      TextError(
        kind, operation: "opening a token file", path: path, expected: expected, found: found,
        advice: "write it anew with `mfqat prepare`")
    }
    func number(_ offset: Int, _ size: Int) -> UInt64 {
      (0..<size).reduce(0) { $0 | UInt64(bytes[offset + $1]) << (8 * $1) }
    }
    guard bytes.count >= magic.count, bytes.starts(with: magic) else {
      throw refusal(.malformed, "a file that begins with MFQTOKEN", "something else")
    }
    guard bytes.count == byteCount else { throw refusal(.malformed, "a header of \(byteCount) bytes", "\(fileSize) bytes") }
    guard number(8, 4) == UInt64(version) else {
      throw refusal(.unsupported, "version \(version)", "version \(number(8, 4))")
    }
    guard number(120, 8) == ContentHash.narrow(bytes.span.extracting(0..<120)) else {
      throw refusal(.inconsistent, "a header with its checksum", "another checksum: the header is damaged")
    }
    func hash(_ offset: Int) -> ContentHash.Wide {
      ContentHash.Wide(high: number(offset, 8), low: number(offset + 8, 8))
    }
    let width = Int(number(12, 4))
    guard width == 2 || width == 4, let count = Int(exactly: number(16, 8)), count <= Int.max / 8,
      let vocabularySize = Int(exactly: number(24, 8)), vocabularySize <= Int(Int32.max)
    else { throw refusal(.malformed, "2 or 4 bytes a token and counts in range", "width \(width)") }
    let expected = byteCount + count * width
    guard fileSize == expected else {
      throw refusal(.malformed, "\(expected) bytes for \(count) tokens of \(width) bytes", "\(fileSize) bytes")
    }
    return TokenFileHeader(
      width: width, count: count, vocabularySize: vocabularySize, tokenizerHash: hash(32), textHash: hash(48),
      tokensHash: hash(64))
  }
}
