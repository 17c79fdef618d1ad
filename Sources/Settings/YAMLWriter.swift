/// Nodes to YAML: keys in the order of the tables, lists on one line while they fit.
enum YAMLWriter {
  static let width = 100

  /// - Parameter documentation: of the keys of `root`; with it every key is preceded by its comment.
  static func write(_ root: SettingNode, documentation: [KeyDocumentation]? = nil, defaults: SettingNode? = nil) -> String {
    var lines: [String] = []
    write(root, indent: 0, documentation, defaults, &lines)
    return lines.map { $0 + "\n" }.joined()
  }

  private static func write(
    _ node: SettingNode, indent: Int, _ documentation: [KeyDocumentation]?, _ defaults: SettingNode?,
    _ lines: inout [String]
  ) {
    guard case .mapping(let entries) = node.content else { preconditionFailure("a mapping is written, not \(node.summary)") }
    let margin = String(repeating: " ", count: indent)
    for entry in entries {
      let about = documentation?.first { $0.name == entry.key }
      let usual = defaults?.value(entry.key)
      if let about {
        if !lines.isEmpty, indent == 0 || about.keys != nil { lines.append("") }
        lines += wrapped(about.sentence, margin: margin + "# ")
        if about.keys == nil { lines += wrapped(typeAndDefault(about, entry.value, usual), margin: margin + "# ") }
      }
      let key = margin + Self.key(entry.key) + ":"
      switch entry.value.content {
      case .mapping(let inner) where !inner.isEmpty:
        lines.append(key)
        write(entry.value, indent: indent + 2, about?.keys, usual, &lines)
      case .sequence(let elements)
      where key.count + inline(entry.value).count + 1 > width && elements.allSatisfy(\.isScalar):
        lines.append(key)
        lines += elements.map { "\(margin)  - \(inline($0))" }
      default:
        lines.append("\(key) \(inline(entry.value))")
      }
    }
  }

  private static func typeAndDefault(_ about: KeyDocumentation, _ value: SettingNode, _ usual: SettingNode?) -> String {
    if about.isRequired { return "Type: \(about.typeName). Required." }
    guard let usual = usual.map(inline) else { return "Type: \(about.typeName)." }
    let isLong = usual.count > 60 && usual == inline(value)
    return "Type: \(about.typeName). Default: \(isLong ? "as written here" : usual)."
  }

  private static func wrapped(_ text: String, margin: String) -> [String] {
    var lines: [String] = []
    var line = margin
    for word in text.split(separator: " ") {
      if line.count + word.count > width, line != margin {
        lines.append(line.last == " " ? String(line.dropLast()) : line)
        line = margin
      }
      line += word + " "
    }
    return lines + [String(line.dropLast())]
  }

  /// A node on one line, in flow style.
  static func inline(_ node: SettingNode) -> String {
    switch node.content {
    case .null: "null"
    case .scalar(let text, isPlain: true): text
    case .scalar(let text, isPlain: false): isBare(text) ? text : quoted(text)
    case .sequence(let elements): "[" + elements.map(inline).joined(separator: ", ") + "]"
    case .mapping(let entries):
      "{" + entries.map { "\(key($0.key)): \(inline($0.value))" }.joined(separator: ", ") + "}"
    }
  }

  private static func key(_ name: String) -> String { isBare(name) ? name : quoted(name) }

  /// Text that YAML reads as that text without quotes, wherever it stands.
  private static func isBare(_ text: String) -> Bool {
    let reserved: Set = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "none", "auto"]
    guard let first = text.utf8.first, !reserved.contains(text.lowercased()) else { return false }
    func isLetter(_ c: UInt8) -> Bool { (c | 0x20) >= 0x61 && (c | 0x20) <= 0x7A || c == 0x5F }
    guard isLetter(first) || first == 0x2F || text.hasPrefix("./") || text.hasPrefix("../") else { return false }
    return text.utf8.allSatisfy { isLetter($0) || ($0 >= 0x30 && $0 <= 0x39) || "./-".utf8.contains($0) }
  }

  /// A double-quoted scalar with JSON's escapes, which are also YAML's.
  static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      case "\r": result += "\\r"
      default:
        if scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) {
          let hex = String(scalar.value, radix: 16)
          result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
        } else {
          result.unicodeScalars.append(scalar)
        }
      }
    }
    return result + "\""
  }
}

extension SettingNode {
  fileprivate var isScalar: Bool {
    if case .scalar = content { true } else { false }
  }

  fileprivate func value(_ key: String) -> SettingNode? {
    guard case .mapping(let entries) = content else { return nil }
    return entries.first { $0.key == key }?.value
  }
}
