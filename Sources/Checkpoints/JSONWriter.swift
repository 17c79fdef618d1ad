extension JSONValue {
  public enum KeyOrder: Sendable { case given, sorted }

  /// The bytes of this value.
  ///
  /// With `.sorted` and no indent this is the canonical form: keys by UTF-8 bytes, no white space, the shortest digits
  /// that give the same double, integers beyond ±2^53 as strings of digits (readers that hold numbers as doubles would
  /// round them). Parsing the canonical form and writing it again gives the same bytes.
  public func serialized(order: KeyOrder = .sorted, indent: Int? = nil) -> [UInt8] {
    var writer = JSONWriter(order: order, indent: indent)
    writer.write(self, level: 0)
    return writer.bytes
  }
}

private struct JSONWriter {
  let order: JSONValue.KeyOrder
  let indent: Int?
  var bytes: [UInt8] = []

  /// Integers with a magnitude up to this are exact in every reader.
  private static let exactIntegerLimit = 1 << 53

  init(order: JSONValue.KeyOrder, indent: Int?) {
    self.order = order
    self.indent = indent
  }

  mutating func write(_ value: JSONValue, level: Int) {
    switch value {
    case .null: append("null")
    case .bool(let value): append(value ? "true" : "false")
    case .integer(let value):
      if value.magnitude <= UInt(Self.exactIntegerLimit) { append(String(value)) } else { write(String(value)) }
    case .number(let value):
      precondition(value.isFinite, "JSON has no \(value)")
      append(value.description)
    case .string(let text): write(text)
    case .array(let elements):
      container("[", "]", elements, level) { writer, element in writer.write(element, level: level + 1) }
    case .object(let object):
      var members = Array(object.members)
      if order == .sorted { members.sort { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) } }
      container("{", "}", members, level) { writer, member in
        writer.write(member.0)
        writer.append(writer.indent == nil ? ":" : ": ")
        writer.write(member.1, level: level + 1)
      }
    }
  }

  private mutating func container<Element>(
    _ open: String, _ close: String, _ elements: [Element], _ level: Int,
    _ body: (inout JSONWriter, Element) -> Void
  ) {
    append(open)
    for (index, element) in elements.enumerated() {
      if index > 0 { append(",") }
      newline(level + 1)
      body(&self, element)
    }
    if !elements.isEmpty { newline(level) }
    append(close)
  }

  private mutating func newline(_ level: Int) {
    guard let indent else { return }
    bytes.append(0x0A)
    bytes.append(contentsOf: repeatElement(0x20, count: indent * level))
  }

  private mutating func write(_ text: String) {
    append("\"")
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""): append("\\\"")
      case UInt8(ascii: "\\"): append("\\\\")
      case 0x0A: append("\\n")
      case 0x0D: append("\\r")
      case 0x09: append("\\t")
      case 0..<0x20:
        let digits = String(byte, radix: 16)
        append("\\u00" + (digits.utf8.count == 1 ? "0" : "") + digits)
      default: bytes.append(byte)
      }
    }
    append("\"")
  }

  private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }
}
