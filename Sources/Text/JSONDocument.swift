/// A JSON value with its strings as UTF-8 bytes and its members in the order of the file.
///
/// Why not Foundation's decoder: a `Dictionary<String, Int>` compares keys by canonical equivalence, so the
/// vocabulary entries "é" and "e◌́" would become one. It is also twenty times slower on a vocabulary of 128 thousand.
enum JSONValue {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string([UInt8])
  case array([JSONValue])
  case object([(key: [UInt8], value: JSONValue)])

  /// The member of an object by name; the last one, should there be two. Nil too for what is not an object.
  subscript(_ name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.last { $0.key.elementsEqual(name.utf8) }?.value
  }

  var bytes: [UInt8]? { if case .string(let bytes) = self { bytes } else { nil } }
  var text: String? { bytes.map { String(decoding: $0, as: UTF8.self) } }
  var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  var integer: Int? { if case .integer(let value) = self { value } else { nil } }
  var elements: [JSONValue]? { if case .array(let elements) = self { elements } else { nil } }
  var isNull: Bool { if case .null = self { true } else { false } }

  /// For error messages: what kind of value this is.
  var kindName: String {
    switch self {
    case .null: "null"
    case .bool(let value): "\(value)"
    case .integer(let value): "\(value)"
    case .number(let value): "\(value)"
    case .string(let bytes): "the string \"\(String(decoding: bytes.prefix(60), as: UTF8.self))\""
    case .array(let elements): "an array of \(elements.count)"
    case .object: "an object"
    }
  }
}

/// A strict reader of RFC 8259 JSON. Unpaired surrogates are refused: UTF-8 cannot hold them.
struct JSONReader: ~Escapable {
  /// Where reading stopped, and why.
  struct Failure: Error {
    let offset: Int
    let expected: String
    let found: String
  }

  private let bytes: Span<UInt8>
  private var offset = 0
  private var depth = 0
  private var values = 0
  /// Of one document: a value takes eight times the two bytes that it has at least.
  private static let valueLimit = 1 << 24

  @_lifetime(copy bytes)
  private init(_ bytes: Span<UInt8>) {
    self.bytes = bytes
  }

  /// Reads one value and nothing but white space after it.
  static func read(_ bytes: Span<UInt8>) throws(Failure) -> JSONValue {
    var reader = JSONReader(bytes)
    let value = try reader.value()
    reader.skipSpace()
    guard reader.offset == bytes.count else { throw reader.failure("the end of the JSON text") }
    return value
  }

  private func failure(_ expected: String, at place: Int? = nil) -> Failure {
    let place = place ?? offset
    guard place < bytes.count else { return Failure(offset: place, expected: expected, found: "the end") }
    let byte = bytes[place]
    let found = (0x20..<0x7F).contains(byte) ? "'\(Unicode.Scalar(byte))'" : "byte 0x\(String(byte, radix: 16))"
    return Failure(offset: place, expected: expected, found: found)
  }

  private mutating func skipSpace() {
    while offset < bytes.count {
      switch bytes[offset] {
      case 0x20, 0x09, 0x0A, 0x0D: offset += 1
      default: return
      }
    }
  }

  private mutating func value() throws(Failure) -> JSONValue {
    skipSpace()
    values += 1
    guard values <= Self.valueLimit else { throw failure("at most \(Self.valueLimit) values") }
    guard offset < bytes.count else { throw failure("a value") }
    switch bytes[offset] {
    case UInt8(ascii: "{"): return try object()
    case UInt8(ascii: "["): return try array()
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    default: return try number()
    }
  }

  private mutating func literal(_ text: StaticString, _ value: JSONValue) throws(Failure) -> JSONValue {
    for (index, byte) in "\(text)".utf8.enumerated() {
      guard offset + index < bytes.count, bytes[offset + index] == byte else {
        throw failure("\(text)", at: offset + index)
      }
    }
    offset += text.utf8CodeUnitCount
    return value
  }

  private mutating func enter() throws(Failure) {
    offset += 1
    depth += 1
    guard depth <= 128 else { throw failure("at most 128 nested arrays and objects") }
  }

  /// Steps over a comma (true) or the closing byte (false).
  private mutating func another(_ close: UInt8) throws(Failure) -> Bool {
    skipSpace()
    guard offset < bytes.count, bytes[offset] == UInt8(ascii: ",") || bytes[offset] == close else {
      throw failure("',' or '\(Unicode.Scalar(close))'")
    }
    offset += 1
    return bytes[offset - 1] != close
  }

  private mutating func array() throws(Failure) -> JSONValue {
    try enter()
    defer { depth -= 1 }
    var elements: [JSONValue] = []
    skipSpace()
    if offset < bytes.count, bytes[offset] == UInt8(ascii: "]") {
      offset += 1
      return .array(elements)
    }
    repeat { elements.append(try value()) } while try another(UInt8(ascii: "]"))
    return .array(elements)
  }

  private mutating func object() throws(Failure) -> JSONValue {
    try enter()
    defer { depth -= 1 }
    var members: [(key: [UInt8], value: JSONValue)] = []
    skipSpace()
    if offset < bytes.count, bytes[offset] == UInt8(ascii: "}") {
      offset += 1
      return .object(members)
    }
    repeat {
      skipSpace()
      guard offset < bytes.count, bytes[offset] == UInt8(ascii: "\"") else { throw failure("a member's name") }
      let key = try string()
      skipSpace()
      guard offset < bytes.count, bytes[offset] == UInt8(ascii: ":") else { throw failure("':'") }
      offset += 1
      members.append((key, try value()))
    } while try another(UInt8(ascii: "}"))
    return .object(members)
  }

  private mutating func number() throws(Failure) -> JSONValue {
    let start = offset
    var isInteger = true
    scan: while offset < bytes.count {
      switch bytes[offset] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): break
      case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "+"): isInteger = false
      default: break scan
      }
      offset += 1
    }
    // RFC 8259 writes no plus sign and no leading zero.
    let first = start < offset && bytes[start] == UInt8(ascii: "-") ? start + 1 : start
    guard first < offset, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[first]),
      bytes[first] != UInt8(ascii: "0") || first + 1 == offset
        || !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[first + 1])
    else { throw failure("a value", at: start) }
    var digits = ""
    for index in start..<offset { digits.unicodeScalars.append(Unicode.Scalar(bytes[index])) }
    if isInteger, let value = Int(digits) { return .integer(value) }
    if let value = Double(digits) { return .number(value) }
    throw failure("a value", at: start)
  }

  private mutating func string() throws(Failure) -> [UInt8] {
    offset += 1
    // Most strings have no escapes: find the end first and copy once.
    var end = offset
    while end < bytes.count, bytes[end] != UInt8(ascii: "\""), bytes[end] != UInt8(ascii: "\\"), bytes[end] >= 0x20 {
      end += 1
    }
    var result: [UInt8] = []
    result.reserveCapacity(end - offset)
    while true {
      for index in offset..<end { result.append(bytes[index]) }
      offset = end
      guard offset < bytes.count else { throw failure("the end of a string") }
      switch bytes[offset] {
      case UInt8(ascii: "\""):
        offset += 1
        return result
      case UInt8(ascii: "\\"): try escape(into: &result)
      default: throw failure("a string without control characters")
      }
      end = offset
      while end < bytes.count, bytes[end] != UInt8(ascii: "\""), bytes[end] != UInt8(ascii: "\\"), bytes[end] >= 0x20 {
        end += 1
      }
    }
  }

  private mutating func escape(into result: inout [UInt8]) throws(Failure) {
    let start = offset
    guard offset + 1 < bytes.count else { throw failure("an escape", at: bytes.count) }
    let kind = bytes[offset + 1]
    offset += 2
    switch kind {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(kind)
    case UInt8(ascii: "b"): result.append(0x08)
    case UInt8(ascii: "f"): result.append(0x0C)
    case UInt8(ascii: "n"): result.append(0x0A)
    case UInt8(ascii: "r"): result.append(0x0D)
    case UInt8(ascii: "t"): result.append(0x09)
    case UInt8(ascii: "u"):
      var scalar = try fourDigits()
      if (0xD800..<0xDC00).contains(scalar), offset + 1 < bytes.count, bytes[offset] == UInt8(ascii: "\\"),
        bytes[offset + 1] == UInt8(ascii: "u")
      {
        offset += 2
        let low = try fourDigits()
        guard (0xDC00..<0xE000).contains(low) else {
          throw Failure(offset: start, expected: "a pair of surrogates", found: "a high surrogate alone")
        }
        scalar = 0x10000 + (scalar - 0xD800) << 10 + (low - 0xDC00)
      }
      guard !(0xD800..<0xE000).contains(scalar) else {
        throw Failure(offset: start, expected: "a pair of surrogates", found: "one surrogate alone")
      }
      UTF8Scanner.append(scalar, to: &result)
    default: throw failure("an escape", at: start + 1)
    }
  }

  private mutating func fourDigits() throws(Failure) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard offset < bytes.count else { throw failure("four hexadecimal digits") }
      let byte = bytes[offset]
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt32(byte - 0x30)
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt32(byte - 0x57)
      case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 | UInt32(byte - 0x37)
      default: throw failure("four hexadecimal digits")
      }
      offset += 1
    }
    return value
  }
}
