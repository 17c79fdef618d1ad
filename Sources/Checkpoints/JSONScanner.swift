/// A small strict JSON reader (RFC 8259) for files that may be hostile.
///
/// Refused, each with its byte offset: duplicate keys, text after the value, control characters and invalid UTF-8 in
/// strings, lone surrogates, numbers outside double range, NaN and Infinity, nesting or size above the limits.
public struct JSONScanner {
  /// Bounds that hold before memory is spent.
  public struct Limits: Sendable {
    public var bytes: Int
    public var depth: Int
    /// Values in the document, containers included.
    public var values: Int

    public init(bytes: Int = 100_000_000, depth: Int = 64, values: Int = 4_000_000) {
      self.bytes = bytes
      self.depth = depth
      self.values = values
    }
  }

  private let bytes: [UInt8]
  private let path: String?
  private let limits: Limits
  /// Offset of `bytes[0]` in the file, for errors.
  private let origin: Int
  private var position = 0
  private var values = 0

  private init(_ bytes: [UInt8], path: String?, origin: Int, limits: Limits) {
    self.bytes = bytes
    self.path = path
    self.origin = origin
    self.limits = limits
  }

  /// The one value of the document `bytes`. `path` and `origin` (where the document starts in that file) only name
  /// places in errors.
  public static func parse(
    _ bytes: [UInt8], path: String? = nil, origin: Int = 0, limits: Limits = Limits()
  ) throws(CheckpointError) -> JSONValue {
    var scanner = JSONScanner(bytes, path: path, origin: origin, limits: limits)
    guard bytes.count <= limits.bytes else {
      throw scanner.error(expected: "at most \(limits.bytes) bytes", found: "\(bytes.count)")
    }
    let value = try scanner.value(depth: 0)
    scanner.skipSpace()
    guard scanner.position == bytes.count else {
      throw scanner.error(expected: "the end of the document", found: scanner.here)
    }
    return value
  }

  /// Reads and parses a whole file.
  public static func parse(file path: String, limits: Limits = Limits()) throws(CheckpointError) -> JSONValue {
    let file = try ReadableFile(path)
    guard file.size <= limits.bytes else {
      throw CheckpointError(
        "read JSON", path: path, expected: "at most \(limits.bytes) bytes", found: "\(file.size)")
    }
    return try parse(try file.wholeContents(), path: path, limits: limits)
  }

  // MARK: Values

  private mutating func value(depth: Int) throws(CheckpointError) -> JSONValue {
    skipSpace()
    values += 1
    guard values <= limits.values else {
      throw error(expected: "at most \(limits.values) values", found: "more")
    }
    guard position < bytes.count else { throw error(expected: "a value", found: here) }
    switch bytes[position] {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    default: throw error(expected: "a value", found: here)
    }
  }

  private mutating func object(depth: Int) throws(CheckpointError) -> JSONValue {
    try enter(depth)
    var object = JSONObject()
    skipSpace()
    if take("}") { return .object(object) }
    while true {
      skipSpace()
      let start = position
      guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
        throw error(expected: "a key in quotes", found: here)
      }
      let key = try string()
      guard object[key] == nil else {
        position = start
        throw error(expected: "each key once", found: "\"\(key)\" again")
      }
      skipSpace()
      guard take(":") else { throw error(expected: "':'", found: here) }
      object[key] = try value(depth: depth + 1)
      skipSpace()
      if take("}") { return .object(object) }
      guard take(",") else { throw error(expected: "',' or '}'", found: here) }
    }
  }

  private mutating func array(depth: Int) throws(CheckpointError) -> JSONValue {
    try enter(depth)
    var elements: [JSONValue] = []
    skipSpace()
    if take("]") { return .array(elements) }
    while true {
      elements.append(try value(depth: depth + 1))
      skipSpace()
      if take("]") { return .array(elements) }
      guard take(",") else { throw error(expected: "',' or ']'", found: here) }
    }
  }

  private mutating func enter(_ depth: Int) throws(CheckpointError) {
    guard depth < limits.depth else {
      throw error(expected: "at most \(limits.depth) nested containers", found: "more")
    }
    position += 1
  }

  private mutating func word(_ text: StaticString, _ value: JSONValue) throws(CheckpointError) -> JSONValue {
    for byte in text.description.utf8 {
      guard position < bytes.count, bytes[position] == byte else {
        throw error(expected: "\(text)", found: here)
      }
      position += 1
    }
    return value
  }

  private mutating func number() throws(CheckpointError) -> JSONValue {
    let start = position
    let isNegative = take("-")
    var isInteger = true
    if !take("0") { try digits() }
    if take(".") {
      isInteger = false
      try digits()
    }
    if take("e") || take("E") {
      isInteger = false
      if !take("+") { _ = take("-") }
      try digits()
    }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    if isInteger, let value = Int(text), !(isNegative && value == 0) { return .integer(value) }
    guard let value = Double(text), value.isFinite else {
      position = start
      throw error(expected: "a number in the range of a double", found: text)
    }
    return .number(value)
  }

  private mutating func digits() throws(CheckpointError) {
    let start = position
    while position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]) { position += 1 }
    guard position > start else { throw error(expected: "a digit", found: here) }
  }

  // MARK: Strings

  private mutating func string() throws(CheckpointError) -> String {
    position += 1
    let start = position
    while position < bytes.count {
      let byte = bytes[position]
      if byte == UInt8(ascii: "\"") {
        let text = try validated(bytes[start..<position], from: start)
        position += 1
        return text
      }
      if byte == UInt8(ascii: "\\") { return try escapedString(from: start) }
      guard byte >= 0x20 else { throw error(expected: "control characters escaped", found: here) }
      position += 1
    }
    throw error(expected: "the closing quote", found: here)
  }

  /// The slower path from the first backslash on; `position` stands on it.
  private mutating func escapedString(from start: Int) throws(CheckpointError) -> String {
    var text = Array(bytes[start..<position])
    while position < bytes.count {
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: "\""):
        let result = try validated(text[...], from: start)
        position += 1
        return result
      case UInt8(ascii: "\\"):
        position += 1
        text.append(contentsOf: try escape())
      case 0..<0x20: throw error(expected: "control characters escaped", found: here)
      default:
        text.append(byte)
        position += 1
      }
    }
    throw error(expected: "the closing quote", found: here)
  }

  /// The UTF-8 of one escape; `position` stands behind the backslash.
  private mutating func escape() throws(CheckpointError) -> [UInt8] {
    guard position < bytes.count else { throw error(expected: "an escape", found: here) }
    let byte = bytes[position]
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
    case UInt8(ascii: "b"): return [0x08]
    case UInt8(ascii: "f"): return [0x0C]
    case UInt8(ascii: "n"): return [0x0A]
    case UInt8(ascii: "r"): return [0x0D]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "u"): break
    default:
      position -= 1
      throw error(expected: "one of \"\\/bfnrtu", found: here)
    }
    var code = try hexadecimal()
    if (0xD800..<0xDC00).contains(code) {
      guard take("\\"), take("u") else { throw error(expected: "the second half of a surrogate pair", found: here) }
      let low = try hexadecimal()
      guard (0xDC00..<0xE000).contains(low) else {
        throw error(expected: "a low surrogate", found: "\\u" + String(low, radix: 16))
      }
      code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
    }
    guard let scalar = Unicode.Scalar(code) else {
      throw error(expected: "a surrogate pair", found: "a lone \\u" + String(code, radix: 16))
    }
    return Array(String(Character(scalar)).utf8)
  }

  private mutating func hexadecimal() throws(CheckpointError) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard position < bytes.count, let digit = Character(Unicode.Scalar(bytes[position])).hexDigitValue else {
        throw error(expected: "four hexadecimal digits", found: here)
      }
      code = code << 4 | UInt32(digit)
      position += 1
    }
    return code
  }

  private func validated(_ text: ArraySlice<UInt8>, from start: Int) throws(CheckpointError) -> String {
    guard let string = String(validating: text, as: UTF8.self) else {
      throw CheckpointError(
        "read JSON", path: path, offset: origin + start, expected: "valid UTF-8 in a string", found: "other bytes")
    }
    return string
  }

  // MARK: Bytes

  private mutating func skipSpace() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0A, 0x0D: position += 1
      default: return
      }
    }
  }

  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard position < bytes.count, bytes[position] == UInt8(ascii: character) else { return false }
    position += 1
    return true
  }

  private var here: String {
    guard position < bytes.count else { return "the end of the text" }
    let byte = bytes[position]
    return (0x21..<0x7F).contains(byte)
      ? "'\(Character(Unicode.Scalar(byte)))'" : "byte 0x" + String(byte, radix: 16)
  }

  private func error(expected: String, found: String) -> CheckpointError {
    CheckpointError("read JSON", path: path, offset: origin + position, expected: expected, found: found)
  }
}
