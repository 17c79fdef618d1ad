/// A text from one or more files, checked to be UTF-8.
///
/// Files are concatenated as they are, in the order given. A name ending in `.jsonl` is one JSON object a line with a
/// string `text`, or `messages` whose `content` strings are joined by newlines; `.json` is an array of
/// strings or of such objects. Each record ends with a newline, added where it has none. All other names
/// are plain text.
public struct TextSource: Sendable {
  /// Well-formed UTF-8.
  public let utf8: [UInt8]
  /// XXH3-128 of `utf8`, 32 hexadecimal digits.
  public let contentHash: String
  /// The files, in order; empty for a text from memory.
  public let paths: [String]

  public var text: String { String(decoding: utf8, as: UTF8.self) }

  public init(_ text: String) {
    self.init(utf8: Array(text.utf8), paths: [])
  }

  private init(utf8: [UInt8], paths: [String]) {
    self.utf8 = utf8
    self.paths = paths
    contentHash = ContentHash.wide(utf8.span).hexadecimal
  }

  /// Reads the files. Refuses what is not UTF-8, with the file and the byte.
  public static func load(_ paths: [String]) throws(TextError) -> TextSource {
    var utf8: [UInt8] = []
    for path in paths {
      if path.hasSuffix(".jsonl") {
        try appendLines(path, to: &utf8)
      } else if path.hasSuffix(".json") {
        try appendArray(path, to: &utf8)
      } else {
        let start = utf8.count
        try FileBytes.append(path, to: &utf8, operation: operation)
        try check(utf8.span.extracting(start...), path)
      }
    }
    return TextSource(utf8: utf8, paths: paths)
  }

  private static let operation = "reading text"

  private static func check(_ bytes: Span<UInt8>, _ path: String) throws(TextError) {
    guard let offset = UTF8Scanner.firstInvalidOffset(bytes) else { return }
    throw TextError(
      .malformed, operation: operation, path: path, expected: "UTF-8",
      found: "an invalid sequence at byte \(offset) (0x\(String(bytes[offset], radix: 16)))",
      advice: "convert the file, for instance with iconv")
  }

  private static func appendLines(_ path: String, to utf8: inout [UInt8]) throws(TextError) {
    let bytes = try FileBytes.contents(of: path, operation: operation)
    try check(bytes.span, path)
    var start = 0, line = 0
    while start < bytes.count {
      let end = bytes[start...].firstIndex(of: 0x0A) ?? bytes.count
      line += 1
      let isBlank = bytes[start..<end].allSatisfy { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }
      if !isBlank {
        let value = try parse(bytes.span.extracting(start..<end), path, from: start)
        try appendRecord(value, "line \(line)", path, to: &utf8)
      }
      start = end + 1
    }
  }

  private static func appendArray(_ path: String, to utf8: inout [UInt8]) throws(TextError) {
    let bytes = try FileBytes.contents(of: path, operation: operation)
    try check(bytes.span, path)
    let value = try parse(bytes.span, path, from: 0)
    guard let elements = value.elements else {
      throw TextError(
        .malformed, operation: operation, path: path, expected: "an array of strings or records",
        found: value.kindName, advice: "one object a line belongs in a .jsonl file")
    }
    for (index, element) in elements.enumerated() {
      try appendRecord(element, "element \(index)", path, to: &utf8)
    }
  }

  private static func parse(_ bytes: Span<UInt8>, _ path: String, from start: Int) throws(TextError) -> JSONValue {
    do { return try JSONReader.read(bytes) } catch {
      throw TextError(
        .malformed, operation: operation, path: path, expected: "JSON with \(error.expected)",
        found: "\(error.found) at byte \(start + error.offset)")
    }
  }

  private static func appendRecord(
    _ value: JSONValue, _ place: String, _ path: String, to utf8: inout [UInt8]
  ) throws(TextError) {
    if let text = value.bytes ?? value["text"]?.bytes {
      utf8 += text
    } else if let messages = value["messages"]?.elements {
      for (index, message) in messages.enumerated() {
        guard let content = content(of: message) else {
          throw TextError(
            .malformed, operation: operation, path: path, expected: "a string content in each message",
            found: "\(place), message \(index) without one")
        }
        if index > 0 { utf8.append(0x0A) }
        utf8 += content
      }
    } else {
      throw TextError(
        .malformed, operation: operation, path: path, expected: "a string, or an object with text or messages",
        found: "\(place), \(value.kindName) without them")
    }
    if let last = utf8.last, last != 0x0A { utf8.append(0x0A) }
  }

  /// A string, or the `text` parts of an array of parts.
  private static func content(of message: JSONValue) -> [UInt8]? {
    guard let content = message["content"] else { return nil }
    if let text = content.bytes { return text }
    guard let parts = content.elements else { return nil }
    var result: [UInt8] = []
    for part in parts {
      guard let text = part["text"]?.bytes else { return nil }
      result += text
    }
    return result
  }
}
