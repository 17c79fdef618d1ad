/// What YAML text says, before anything is known about types: scalars keep their spelling and every node its origin.
struct SettingNode: Sendable {
  enum Content: Sendable {
    case null
    /// `isPlain` is false for quoted and block scalars, which are text whatever they look like.
    case scalar(String, isPlain: Bool)
    case sequence([SettingNode])
    case mapping([Entry])
  }

  struct Entry: Sendable {
    var key: String
    var origin: SettingOrigin?
    var value: SettingNode
  }

  var content: Content
  var origin: SettingOrigin?

  init(_ content: Content, at origin: SettingOrigin? = nil) {
    self.content = content
    self.origin = origin
  }

  /// A plain scalar: a number, a truth value, a bare name.
  static func plain(_ text: String) -> SettingNode { SettingNode(.scalar(text, isPlain: true)) }
  /// Text, to be quoted where it could be read as something else.
  static func text(_ text: String) -> SettingNode { SettingNode(.scalar(text, isPlain: false)) }

  /// What to call it in an error.
  var summary: String {
    switch content {
    case .null: "nothing"
    case .scalar(let text, _): "'\(text)'"
    case .sequence(let elements): "a list of \(elements.count)"
    case .mapping(let entries):
      entries.isEmpty ? "an empty mapping" : "a mapping with \(entries.map(\.key).joined(separator: ", "))"
    }
  }

  /// Replaces or adds the value at a path of keys, creating mappings on the way.
  ///
  /// - Returns: the path of the value that stands in the way because it is no mapping, or nil when all is well.
  mutating func set(_ path: ArraySlice<String>, to value: SettingNode, at origin: SettingOrigin) -> [String]? {
    guard let key = path.first else {
      self = value
      return nil
    }
    var entries: [Entry]
    switch content {
    case .mapping(let existing): entries = existing
    case .null: entries = []
    case .scalar, .sequence: return []
    }
    let index = entries.firstIndex { $0.key == key } ?? entries.count
    if index == entries.count { entries.append(Entry(key: key, origin: origin, value: SettingNode(.null, at: origin))) }
    if path.count == 1 { entries[index].origin = origin }
    let blocked = entries[index].value.set(path.dropFirst(), to: value, at: origin)
    content = .mapping(entries)
    return blocked.map { [key] + $0 }
  }
}
