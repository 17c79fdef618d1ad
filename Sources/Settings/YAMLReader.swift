import Yams

/// YAML text to nodes, and `--set` overrides onto them. The only file that knows the YAML library.
enum YAMLReader {
  /// The single document of `yaml`; an empty one is an empty mapping.
  static func read(_ yaml: String, file: String) throws(SettingsError) -> SettingNode {
    do {
      guard let root = try Yams.compose(yaml: yaml) else { return SettingNode(.mapping([])) }
      let node = convert(root) { .line($0) }
      if case .null = node.content { return SettingNode(.mapping([])) }
      return node
    } catch {
      throw SettingsError(file: file, problems: [problem(of: error, at: nil)])
    }
  }

  /// Applies `section.key=value`; the value is YAML, so `[a, b]` is a list and `12` a number.
  static func apply(_ override: String, to root: inout SettingNode) throws(SettingsProblem) {
    let origin = SettingOrigin.override(override)
    let parts = override.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let path = (parts.first ?? "").split(separator: ".", omittingEmptySubsequences: false)
      .map { String($0.trimmingSpaces) }
    guard parts.count == 2, path.allSatisfy({ !$0.isEmpty }) else {
      throw SettingsProblem("", at: origin, expected: "section.key=value", found: "'\(override)'",
                            hint: "for example training.steps=100")
    }
    let value: SettingNode
    do {
      value = try Yams.compose(yaml: String(parts[1])).map { convert($0) { _ in origin } } ?? SettingNode(.null, at: origin)
    } catch {
      throw problem(of: error, at: origin)
    }
    if let blocked = root.set(path[...], to: value, at: origin) {
      throw SettingsProblem(blocked.joined(separator: "."), at: origin, expected: "a mapping to set a key in",
                            found: "a single value or a list")
    }
  }

  private static func convert(_ node: Node, _ origin: (Int) -> SettingOrigin) -> SettingNode {
    let here = node.mark.map { origin($0.line) }
    switch node {
    case .scalar(let scalar):
      let isPlain = scalar.style == .plain || scalar.style == .any
      let isNull = isPlain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
      return SettingNode(isNull ? .null : .scalar(scalar.string, isPlain: isPlain), at: here)
    case .sequence(let sequence):
      return SettingNode(.sequence(sequence.map { convert($0, origin) }), at: here)
    case .mapping(let mapping):
      return SettingNode(
        .mapping(mapping.map { key, value in
          // A key that is itself a list or mapping becomes a name no section has, and is refused as unknown.
          SettingNode.Entry(key: key.scalar?.string ?? "{…}", origin: key.mark.map { origin($0.line) },
                            value: convert(value, origin))
        }), at: here)
    case .alias:
      return SettingNode(.null, at: here)  // the parser resolves aliases; none is left here
    }
  }

  private static func problem(of error: any Error, at origin: SettingOrigin?) -> SettingsProblem {
    func refuse(_ mark: Mark?, _ what: String) -> SettingsProblem {
      SettingsProblem("", at: origin ?? mark.map { .line($0.line) }, expected: "YAML", found: what)
    }
    switch error as? YamlError {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      return refuse(mark, problem)
    case .duplicatedKeysInMapping(let duplicates, let context):
      return SettingsProblem("", at: origin ?? .line(context.mark.line), expected: "every key once in its mapping",
                             found: "\(duplicates.sorted().joined(separator: ", ")) twice")
    default:
      return refuse(nil, "\(error)")
    }
  }
}

extension SettingsProblem: Error {}

extension Substring {
  fileprivate var trimmingSpaces: Substring {
    var text = self
    while text.first == " " { text.removeFirst() }
    while text.last == " " { text.removeLast() }
    return text
  }
}
