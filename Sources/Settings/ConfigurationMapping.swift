/// A mapping with free keys: what a model folder's `config.json` holds, written inline.
public struct ConfigurationMapping: Sendable, Hashable {
  /// What a free key can hold: JSON's types.
  public indirect enum Value: Sendable, Hashable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case text(String)
    case list([Value])
    case mapping(ConfigurationMapping)
  }

  public struct Entry: Sendable, Hashable {
    public var key: String
    public var value: Value

    public init(_ key: String, _ value: Value) {
      self.key = key
      self.value = value
    }
  }

  /// In the order written.
  public var entries: [Entry]

  public init(_ entries: [Entry] = []) { self.entries = entries }

  public subscript(key: String) -> Value? { entries.first { $0.key == key }?.value }

  /// The same as JSON text, keys in the order written: what a decoder of `config.json` reads.
  public var json: String { Value.mapping(self).json }
}

extension ConfigurationMapping.Value {
  public var json: String {
    switch self {
    case .null: "null"
    case .bool(let value): "\(value)"
    case .integer(let value): "\(value)"
    case .number(let value): "\(value)"
    case .text(let text): YAMLWriter.quoted(text)
    case .list(let values): "[" + values.map(\.json).joined(separator: ",") + "]"
    case .mapping(let mapping):
      "{" + mapping.entries.map { YAMLWriter.quoted($0.key) + ":" + $0.value.json }.joined(separator: ",") + "}"
    }
  }
}

extension ConfigurationMapping: SettingValue {
  static var expectation: String { "a mapping" }

  static func decode(_ node: SettingNode, at path: String, _ report: inout SettingsReport) -> Self? {
    guard case .mapping(let entries) = node.content else {
      report.add(path, at: node.origin, expected: expectation, found: node.summary)
      return nil
    }
    for entry in entries { report.origins["\(path).\(entry.key)"] = entry.value.origin ?? entry.origin }
    return ConfigurationMapping(entries.map { Entry($0.key, Value($0.value)) })
  }

  var node: SettingNode { SettingNode(.mapping(entries.map { SettingNode.Entry(key: $0.key, value: $0.value.node) })) }
}

extension ConfigurationMapping.Value {
  init(_ node: SettingNode) {
    switch node.content {
    case .null: self = .null
    case .scalar(let text, let isPlain):
      if let value = Bool(scalar: text, isPlain: isPlain) {
        self = .bool(value)
      } else if let value = Int(scalar: text, isPlain: isPlain) {
        self = .integer(value)
      } else if let value = Double(scalar: text, isPlain: isPlain) {
        self = .number(value)
      } else {
        self = .text(text)
      }
    case .sequence(let nodes): self = .list(nodes.map(Self.init))
    case .mapping(let entries):
      self = .mapping(ConfigurationMapping(entries.map { ConfigurationMapping.Entry($0.key, Self($0.value)) }))
    }
  }

  var node: SettingNode {
    switch self {
    case .null: .plain("null")
    case .bool(let value): value.node
    case .integer(let value): value.node
    case .number(let value): value.node
    case .text(let text): .text(text)
    case .list(let values): SettingNode(.sequence(values.map(\.node)))
    case .mapping(let mapping): mapping.node
    }
  }
}
