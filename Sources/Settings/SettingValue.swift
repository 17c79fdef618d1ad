import Formats
import Quantization

/// A value written as one scalar.
protocol ScalarSetting: SettingValue {
  init?(scalar: String, isPlain: Bool)
  /// All spellings, if they are finite: for "did you mean".
  static var spellings: [String] { get }
  /// What was probably meant by a text that is none of them; nil when there is no telling.
  static func suggestion(for text: String) -> String?
}

extension ScalarSetting {
  static var spellings: [String] { [] }

  static func suggestion(for text: String) -> String? {
    NearestName.plausible(for: text, among: spellings).map { "did you mean \($0)?" }
  }

  static func decode(_ node: SettingNode, at path: String, _ report: inout SettingsReport) -> Self? {
    if case .scalar(let text, let isPlain) = node.content, let value = Self(scalar: text, isPlain: isPlain) {
      return value
    }
    var hint = ""
    if case .scalar(let text, let isPlain) = node.content {
      if !isPlain, Self(scalar: text, isPlain: true) != nil {
        hint = "leave out the quotes"
      } else if text.contains(","), !spellings.isEmpty {
        hint = "write a list as [\(text)]"
      } else {
        hint = suggestion(for: text) ?? ""
      }
    }
    report.add(path, at: node.origin, expected: expectation, found: node.summary, hint: hint)
    return nil
  }
}

extension Bool: ScalarSetting {
  static var expectation: String { "true or false" }
  static var spellings: [String] { ["true", "false"] }
  init?(scalar: String, isPlain: Bool) {
    guard isPlain else { return nil }
    // YAML 1.1's yes, no, on and off are refused: half of all readers take them for text.
    switch scalar {
    case "true", "True", "TRUE": self = true
    case "false", "False", "FALSE": self = false
    default: return nil
    }
  }
  var node: SettingNode { .plain("\(self)") }
}

extension Int: ScalarSetting {
  static var expectation: String { "an integer" }
  init?(scalar: String, isPlain: Bool) {
    guard isPlain, let value = Int(scalar.replacing("_", with: "")) else { return nil }
    self = value
  }
  var node: SettingNode { .plain("\(self)") }
}

extension UInt64: ScalarSetting {
  static var expectation: String { "an integer of 0 or more" }
  init?(scalar: String, isPlain: Bool) {
    guard isPlain, let value = UInt64(scalar.replacing("_", with: "")) else { return nil }
    self = value
  }
  var node: SettingNode { .plain("\(self)") }
}

extension Double: ScalarSetting {
  static var expectation: String { "a number" }
  init?(scalar: String, isPlain: Bool) {
    // Decimal only: `Double` itself would also take hexadecimal, inf and nan.
    let digits = scalar.replacing("_", with: "")
    guard isPlain, digits.utf8.contains(where: { $0 >= 0x30 && $0 <= 0x39 }),
      digits.allSatisfy({ "0123456789+-.eE".contains($0) }), let value = Double(digits), value.isFinite
    else { return nil }
    self = value
  }
  var node: SettingNode { .plain("\(self)") }
}

extension String: ScalarSetting {
  static var expectation: String { "text" }
  init?(scalar: String, isPlain: Bool) { self = scalar }
  var node: SettingNode { .text(self) }
}

extension MXFormat: ScalarSetting {
  static var expectation: String { "a format (\(spellings.joined(separator: ", ")))" }
  static var typeName: String { "a format" }
  static var spellings: [String] { all.map(\.name) }
  static var absence: String { "none" }
  init?(scalar: String, isPlain: Bool) {
    guard let format = try? MXFormat(named: scalar) else { return nil }
    self = format
  }
  static func suggestion(for text: String) -> String? {
    do {
      return try MXFormat(named: text).name
    } catch {
      return error.candidates.count > 1
        ? "it could be \(error.candidates.joined(separator: " or "))" : "did you mean \(error.nearest)?"
    }
  }
  var node: SettingNode { .plain(name) }
}

extension ScaleRule: ScalarSetting {
  static var expectation: String { spellings.joined(separator: " or ") }
  static var spellings: [String] { allCases.map(\.name) }
  init?(scalar: String, isPlain: Bool) { self.init(scalar) }
  var node: SettingNode { .plain(name) }
}

/// A choice among names.
protocol NamedSetting: ScalarSetting, CaseIterable, RawRepresentable<String> {}

extension NamedSetting {
  static var expectation: String { spellings.joined(separator: " or ") }
  static var spellings: [String] { allCases.map(\.rawValue) }
  init?(scalar: String, isPlain: Bool) { self.init(rawValue: scalar) }
  var node: SettingNode { .plain(rawValue) }
}

extension Objective: NamedSetting {}
extension GradientEstimator: NamedSetting {}
extension FormatSchedule.Kind: NamedSetting {}

extension Optional: SettingValue where Wrapped: SettingValue {
  static var expectation: String { "\(Wrapped.expectation), or \(Wrapped.absence)" }
  static var typeName: String { "\(Wrapped.typeName), or \(Wrapped.absence)" }

  static func decode(_ node: SettingNode, at path: String, _ report: inout SettingsReport) -> Wrapped?? {
    switch node.content {
    case .null: return .some(nil)
    case .scalar(Wrapped.absence, isPlain: true): return .some(nil)
    default: return Wrapped.decode(node, at: path, &report).map { .some($0) }
    }
  }
  var node: SettingNode { self?.node ?? .plain(Wrapped.absence) }
}

extension Array: SettingValue where Element: SettingValue {
  static var expectation: String { "a list, each \(Element.expectation)" }
  static var typeName: String { "a list, each \(Element.typeName)" }

  /// A single value is taken for a list of one.
  static func decode(_ node: SettingNode, at path: String, _ report: inout SettingsReport) -> [Element]? {
    switch node.content {
    case .scalar: return Element.decode(node, at: path, &report).map { [$0] }
    case .sequence(let nodes):
      let elements = nodes.enumerated().map { Element.decode($1, at: "\(path)[\($0)]", &report) }
      return elements.contains { $0 == nil } ? nil : elements.compactMap { $0 }
    case .null, .mapping:
      report.add(path, at: node.origin, expected: expectation, found: node.summary, hint: "an empty list is []")
      return nil
    }
  }
  var node: SettingNode { SettingNode(.sequence(map(\.node))) }
}

/// A setting whose default follows from others: `auto` until the configuration is resolved.
enum Automatic<Value: SettingValue & Hashable>: SettingValue, Hashable {
  case auto
  case chosen(Value)

  static var expectation: String { "\(Value.expectation), or auto" }
  static var typeName: String { "\(Value.typeName), or auto" }

  static func decode(_ node: SettingNode, at path: String, _ report: inout SettingsReport) -> Self? {
    if case .scalar("auto", isPlain: true) = node.content { return .auto }
    return Value.decode(node, at: path, &report).map { .chosen($0) }
  }

  var node: SettingNode {
    switch self {
    case .auto: .plain("auto")
    case .chosen(let value): value.node
    }
  }

  func or(_ value: @autoclosure () -> Value) -> Value {
    if case .chosen(let chosen) = self { chosen } else { value() }
  }
}
