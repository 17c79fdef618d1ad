/// A JSON value with the order of its keys kept.
///
/// Integer literals that fit 64 bits are `integer`; everything with a fraction, an exponent or more digits is `number`
/// (tokenizer configurations hold integers of 31 digits).
public enum JSONValue: Sendable, Equatable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object(JSONObject)

  public var isNull: Bool { self == .null }
  public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var string: String? { if case .string(let value) = self { value } else { nil } }
  public var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
  public var object: JSONObject? { if case .object(let value) = self { value } else { nil } }

  /// An integer, also where the canonical writer had to store it as a string of digits (beyond ±2^53).
  public var integer: Int? {
    switch self {
    case .integer(let value): value
    case .string(let text):
      if let value = Int(text), String(value) == text { value } else { nil }
    default: nil
    }
  }

  /// Any number as a double.
  public var double: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }

  /// The member `key` of an object; nil for other kinds.
  public subscript(key: String) -> JSONValue? { object?[key] }

  /// "a string", "an object": for error messages.
  public var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .integer: "an integer"
    case .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

/// The members of a JSON object in their order, found by exact key.
///
/// Keys are compared byte by byte: Swift's string equality takes composed and decomposed accents for the same, which
/// vocabularies and tensor names must not.
public struct JSONObject: Sendable, Equatable {
  public private(set) var keys: [String] = []
  public private(set) var values: [JSONValue] = []
  private var positions: [ExactKey: Int] = [:]

  public init() {}

  public var count: Int { keys.count }

  /// Reads, replaces in place, appends, or (set to nil) removes the member `key`.
  public subscript(key: String) -> JSONValue? {
    get { positions[ExactKey(key)].map { values[$0] } }
    set {
      let position = positions[ExactKey(key)]
      switch (position, newValue) {
      case (let position?, let value?): values[position] = value
      case (nil, let value?):
        positions[ExactKey(key)] = keys.count
        keys.append(key)
        values.append(value)
      case (let position?, nil):
        keys.remove(at: position)
        values.remove(at: position)
        positions = [:]
        for (index, key) in keys.enumerated() { positions[ExactKey(key)] = index }
      case (nil, nil): break
      }
    }
  }

  /// The members in order.
  public var members: Zip2Sequence<[String], [JSONValue]> { zip(keys, values) }

  public static func == (a: JSONObject, b: JSONObject) -> Bool {
    a.keys.map(ExactKey.init) == b.keys.map(ExactKey.init) && a.values == b.values
  }
}

/// A string compared and hashed by its UTF-8 bytes.
struct ExactKey: Hashable, Sendable {
  let text: String
  init(_ text: String) { self.text = text }

  static func == (a: ExactKey, b: ExactKey) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }

  func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { unsafe hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    hasher.combine(0xFF as UInt8)
  }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
  ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
  public init(stringLiteral value: String) { self = .string(value) }
  public init(integerLiteral value: Int) { self = .integer(value) }
  public init(floatLiteral value: Double) { self = .number(value) }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  public init(nilLiteral: ()) { self = .null }
  public init(dictionaryLiteral elements: (String, JSONValue)...) {
    var object = JSONObject()
    for (key, value) in elements {
      precondition(object[key] == nil, "key \"\(key)\" twice in an object literal")
      object[key] = value
    }
    self = .object(object)
  }
}
