/// Where a setting was written.
public enum SettingOrigin: Sendable, Hashable {
  /// A line of the configuration file, from 1.
  case line(Int)
  /// A command-line override, as given: `training.steps=100`.
  case override(String)
}

/// One thing wrong with a run configuration.
public struct SettingsProblem: Sendable, Hashable {
  /// `section.key`, or `section.key[2]` for an element of a list.
  public let keyPath: String
  /// nil when the setting was not written at all, or the configuration was not read from text.
  public var origin: SettingOrigin?
  public let expected: String
  public let found: String
  /// What to do about it; empty when `expected` already says it.
  public let hint: String

  public init(_ keyPath: String, at origin: SettingOrigin? = nil, expected: String, found: String, hint: String = "") {
    self.keyPath = keyPath
    self.origin = origin
    self.expected = expected
    self.found = found
    self.hint = hint
  }

  /// The line of the file, from 1, if it is there.
  public var line: Int? {
    if case .line(let line) = origin { line } else { nil }
  }
}

/// A run configuration that cannot be used: every problem found, not only the first.
public struct SettingsError: Error, Sendable, Hashable, CustomStringConvertible {
  public let file: String
  public let problems: [SettingsProblem]

  public init(file: String, problems: [SettingsProblem]) {
    self.file = file
    self.problems = problems
  }

  /// One line a problem: `run.yaml:7: training.steps: expected an integer, found 'many'`.
  public var description: String {
    problems.map { problem in
      let place =
        switch problem.origin {
        case .line(let line): "\(file):\(line)"
        case .override(let text): "--set \(text)"
        case nil: file
        }
      let key = problem.keyPath.isEmpty ? "" : "\(problem.keyPath): "
      let hint = problem.hint.isEmpty ? "" : "; \(problem.hint)"
      return "\(place): \(key)expected \(problem.expected), found \(problem.found)\(hint)"
    }.joined(separator: "\n")
  }
}

/// Problems as they are collected, and where every setting was written.
struct SettingsReport {
  private(set) var problems: [SettingsProblem] = []
  var origins: [String: SettingOrigin] = [:]

  /// Adds a problem; without an origin of its own it gets that of the key, or of the nearest enclosing key written.
  mutating func add(
    _ keyPath: String, at origin: SettingOrigin? = nil, expected: String, found: String, hint: String = ""
  ) {
    problems.append(
      SettingsProblem(keyPath, at: origin ?? nearestOrigin(keyPath), expected: expected, found: found, hint: hint))
  }

  func finish(_ file: String) throws(SettingsError) {
    if !problems.isEmpty { throw SettingsError(file: file, problems: problems) }
  }

  private func nearestOrigin(_ keyPath: String) -> SettingOrigin? {
    var path = keyPath[...]
    while !path.isEmpty {
      if let origin = origins[String(path)] { return origin }
      path = path.lastIndex { $0 == "." || $0 == "[" }.map { path[..<$0] } ?? ""
    }
    return nil
  }
}
