/// A glob over checkpoint names such as `model.layers.*.self_attn.{q,k,v,o}_proj.weight`.
///
/// - `*` any run of characters within one dotted component, `**` any run, dots included
/// - `?` one character, not a dot
/// - `[0-7ab]`, `[!0-7]` one character in, or not in, the set
/// - `{a,b}` alternatives, which may nest
///
/// The whole name must match. A component-wise `*` keeps `model.layers.*.mlp.…` from reaching into a nested module
/// that only happens to end the same way.
public struct GlobPattern: Sendable, Hashable {
  public let text: String
  /// The pattern once per choice of its braces, in the order written: `a{b,c}` is `ab` and `ac`.
  public let alternatives: [String]
  private let compiled: [[Token]]

  /// - Throws: `QuantizationError` with the given subject for unbalanced braces or brackets, or an empty pattern.
  public init(_ text: String, for subject: QuantizationError.Subject = .include) throws(QuantizationError) {
    func refuse(_ what: String) -> QuantizationError {
      QuantizationError(subject, expected: "a glob pattern", found: "'\(text)', \(what)",
                        hint: "write braces as {q,k} and sets as [0-3]")
    }
    guard !text.isEmpty else { throw refuse("which is empty") }
    guard let alternatives = Self.expand(Array(text)) else { throw refuse("whose braces do not balance") }
    self.text = text
    self.alternatives = alternatives.map { String($0) }
    var compiled: [[Token]] = []
    for alternative in alternatives {
      guard let tokens = Self.compile(alternative) else { throw refuse("whose brackets do not balance") }
      compiled.append(tokens)
    }
    self.compiled = compiled
  }

  public func matches(_ name: String) -> Bool {
    compiled.indices.contains { alternative($0, matches: name) }
  }

  /// Whether the alternative of that index alone matches.
  public func alternative(_ index: Int, matches name: String) -> Bool {
    Self.match(compiled[index][...], Array(name)[...])
  }

  private enum Token: Sendable, Hashable {
    case one(Character)
    case any
    case oneOf([ClosedRange<Character>], negated: Bool)
    case run(crossingDots: Bool)
  }

  /// Braces multiplied out; nil when they do not balance.
  private static func expand(_ text: [Character]) -> [[Character]]? {
    guard let open = text.firstIndex(of: "{") else { return text.contains("}") ? nil : [text] }
    guard !text[..<open].contains("}") else { return nil }
    var depth = 0
    var choices: [ArraySlice<Character>] = []
    var start = open + 1
    var close: Int?
    for i in open..<text.count where close == nil {
      switch text[i] {
      case "{": depth += 1
      case "}":
        depth -= 1
        if depth == 0 {
          choices.append(text[start..<i])
          close = i
        }
      case "," where depth == 1:
        choices.append(text[start..<i])
        start = i + 1
      default: break
      }
    }
    guard let close else { return nil }
    var result: [[Character]] = []
    for choice in choices {
      guard let expanded = expand(text[..<open] + Array(choice) + text[(close + 1)...]) else { return nil }
      for one in expanded where !result.contains(one) { result.append(one) }
    }
    return result
  }

  private static func compile(_ text: [Character]) -> [Token]? {
    var tokens: [Token] = []
    var i = 0
    while i < text.count {
      switch text[i] {
      case "*":
        let double = i + 1 < text.count && text[i + 1] == "*"
        tokens.append(.run(crossingDots: double))
        i += double ? 2 : 1
      case "?":
        tokens.append(.any)
        i += 1
      case "]": return nil
      case "[":
        guard let close = text[i...].firstIndex(of: "]") else { return nil }
        var set = text[(i + 1)..<close]
        let negated = set.first == "!"
        if negated { set = set.dropFirst() }
        guard !set.isEmpty, let ranges = ranges(Array(set)) else { return nil }
        tokens.append(.oneOf(ranges, negated: negated))
        i = close + 1
      default:
        tokens.append(.one(text[i]))
        i += 1
      }
    }
    return tokens
  }

  private static func ranges(_ set: [Character]) -> [ClosedRange<Character>]? {
    var ranges: [ClosedRange<Character>] = []
    var i = 0
    while i < set.count {
      let isRange = i + 2 < set.count && set[i + 1] == "-"
      let upper = isRange ? set[i + 2] : set[i]
      guard set[i] <= upper else { return nil }
      ranges.append(set[i]...upper)
      i += isRange ? 3 : 1
    }
    return ranges
  }

  private static func match(_ tokens: ArraySlice<Token>, _ name: ArraySlice<Character>) -> Bool {
    guard let token = tokens.first else { return name.isEmpty }
    if case .run(let crossingDots) = token {
      var rest = name
      while true {
        if match(tokens.dropFirst(), rest) { return true }
        guard let next = rest.first, crossingDots || next != "." else { return false }
        rest = rest.dropFirst()
      }
    }
    guard let character = name.first else { return false }
    let fits =
      switch token {
      case .one(let wanted): character == wanted
      case .any: character != "."
      case .oneOf(let ranges, let negated): ranges.contains { $0.contains(character) } != negated
      case .run: preconditionFailure("handled above")
      }
    return fits && match(tokens.dropFirst(), name.dropFirst())
  }
}
