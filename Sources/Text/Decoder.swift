/// The last stage: token texts to text. A chain of steps that each take fragments and pass fragments on.
///
/// Decoding a whole sequence and decoding while tokens arrive are the same code; a step holds back what later
/// tokens may still change. Behind a step that joins tokens (`fuse`, `byteLevel`) everything is one token that
/// arrives in fragments.
struct Decoder: Sendable {
  enum Step: Sendable {
    /// Characters of `ByteAlphabet` to bytes, ill-formed UTF-8 to U+FFFD. Joins.
    case byteLevel
    case replace(Matcher, with: [UInt8])
    /// Runs of `<0x00>`…`<0xFF>` to text; a run that is not UTF-8 becomes one U+FFFD a byte.
    case byteFallback
    case fuse
    /// Removes at most so many of `character` at the two ends of each token.
    case strip(character: [UInt8], start: Int, stop: Int)
    /// The replacement becomes a space, or nothing in the first token.
    case metaspace(replacement: [UInt8], dropsFirst: Bool)
    /// No decoder in the file: tokens with spaces between.
    case spaced
  }

  let steps: [Step]

  static func read(_ stage: StageReader) throws(TextError) -> Decoder {
    var steps: [Step] = []
    if stage.value.isNull { steps = [.spaced] } else { try flatten(stage, into: &steps) }
    try StageLimits.check(steps.count, stage)
    var growth = 1
    for case .replace(.literal(let needle), let content) in steps {
      growth = try StageLimits.grown(growth, from: needle.count, to: content.count, stage)
    }
    return Decoder(steps: steps)
  }

  private static func flatten(_ stage: StageReader, into steps: inout [Step]) throws(TextError) {
    let type = try stage.type()
    switch type {
    case "Sequence": for member in try stage.elements("decoders") { try flatten(member, into: &steps) }
    case "ByteLevel": steps.append(.byteLevel)
    case "Replace":
      // Decoding cannot fail, and only a literal pattern never does.
      guard case .literal(let needle) = try stage.matcher("pattern") else {
        throw stage.unsupported("a decoder Replace with a pattern String", "a pattern Regex")
      }
      steps.append(.replace(.literal(needle), with: try stage.bytes("content")))
    case "ByteFallback": steps.append(.byteFallback)
    case "Fuse": steps.append(.fuse)
    case "Strip":
      let character = try stage.character("content")
      let start = try stage.integer("start", default: 0), stop = try stage.integer("stop", default: 0)
      guard start >= 0, stop >= 0 else { throw stage.malformed("start and stop from 0", "\(start) and \(stop)") }
      steps.append(.strip(character: character, start: start, stop: stop))
    case "Metaspace":
      let replacement = try stage.character("replacement")
      let adds = try stage.bool("add_prefix_space", default: true)
      let scheme = stage.value["prepend_scheme"]?.text ?? (adds ? "always" : "never")
      steps.append(.metaspace(replacement: replacement, dropsFirst: scheme != "never"))
    default:
      throw stage.unsupported(
        "a decoder Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip or Metaspace", "decoder \(type)")
    }
  }
}

/// A decoder at work on one sequence of tokens.
struct DecoderRun: Sendable {
  private struct State: Sendable {
    /// What the step holds back.
    var held: [UInt8] = []
    var tokenCount = 0
    /// `strip` on fragments: characters removed so far, and whether it is past the beginning.
    var stripped = 0
    var begun = false
  }

  private let steps: [Decoder.Step]
  /// Whether fragments that reach a step are parts of one token.
  private let isJoined: [Bool]
  private var states: [State]
  private(set) var output: [UInt8] = []

  init(_ decoder: Decoder) {
    steps = decoder.steps
    states = Array(repeating: State(), count: steps.count)
    var joined = false
    var flags: [Bool] = []
    for step in steps {
      flags.append(joined)
      switch step {
      case .fuse, .byteLevel: joined = true
      default: break
      }
    }
    isJoined = flags
  }

  mutating func takeOutput() -> String {
    defer { output.removeAll(keepingCapacity: true) }
    return String(decoding: output, as: UTF8.self)
  }

  mutating func push(_ token: [UInt8]) { push(0, token) }

  mutating func finish() { for index in steps.indices { finish(index) } }

  private mutating func push(_ index: Int, _ fragment: [UInt8]) {
    guard index < steps.count else {
      output += fragment
      return
    }
    defer { states[index].tokenCount += 1 }
    switch steps[index] {
    case .byteLevel:
      if isJoined[index] {
        states[index].held += fragment
      } else {
        // A token with any character outside the alphabet (an added token) stands for its own bytes.
        states[index].held += ByteAlphabet.decode(fragment.span) ?? fragment
        passRepaired(index, atEnd: false)
      }
    case .replace(let matcher, let content):
      if isJoined[index], !matcher.isOneScalar {
        states[index].held += fragment
      } else {
        push(index + 1, matcher.replacing(in: fragment.span, with: content))
      }
    case .byteFallback:
      if isJoined[index] {
        states[index].held += fragment
      } else if let byte = Self.byte(of: fragment) {
        states[index].held.append(byte)
      } else {
        passByteRun(index)
        push(index + 1, fragment)
      }
    case .fuse:
      push(index + 1, fragment)
    case .strip(let character, let start, let stop):
      if isJoined[index] {
        push(index + 1, stripFragment(index, fragment, character, start, stop))
      } else {
        push(index + 1, Self.strip(fragment, character, start, stop))
      }
    case .metaspace(let replacement, let dropsFirst):
      let isFirst = isJoined[index] || states[index].tokenCount == 0
      let content: [UInt8] = isFirst && dropsFirst ? [] : [0x20]
      push(index + 1, Matcher.literal(replacement).replacing(in: fragment.span, with: content))
    case .spaced:
      push(index + 1, states[index].tokenCount == 0 ? fragment : [0x20] + fragment)
    }
  }

  private mutating func finish(_ index: Int) {
    switch steps[index] {
    case .byteLevel:
      if isJoined[index] {
        let token = states[index].held
        states[index].held = ByteAlphabet.decode(token.span) ?? token
      }
      passRepaired(index, atEnd: true)
    case .replace(let matcher, let content):
      guard isJoined[index], !matcher.isOneScalar else { return }
      let token = states[index].held
      push(index + 1, matcher.replacing(in: token.span, with: content))
    case .byteFallback:
      if isJoined[index] {
        let token = states[index].held
        states[index].held = []
        guard let byte = Self.byte(of: token) else { return push(index + 1, token) }
        states[index].held = [byte]
      }
      passByteRun(index)
    case .fuse, .strip, .metaspace, .spaced:
      // What `strip` still holds is what it was to remove at the end.
      return
    }
  }

  private mutating func passRepaired(_ index: Int, atEnd: Bool) {
    var text: [UInt8] = []
    UTF8Scanner.repair(&states[index].held, into: &text, atEnd: atEnd)
    if !text.isEmpty { push(index + 1, text) }
  }

  private mutating func passByteRun(_ index: Int) {
    let run = states[index].held
    guard !run.isEmpty else { return }
    states[index].held = []
    if UTF8Scanner.firstInvalidOffset(run.span) == nil {
      push(index + 1, run)
    } else {
      for _ in run { push(index + 1, UTF8Scanner.replacement) }
    }
  }

  /// The byte of a token `<0xNN>`.
  private static func byte(of token: [UInt8]) -> UInt8? {
    guard token.count == 6, token.starts(with: "<0x".utf8), token[5] == UInt8(ascii: ">") else { return nil }
    return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
  }

  private static func strip(_ token: [UInt8], _ character: [UInt8], _ start: Int, _ stop: Int) -> [UInt8] {
    var rest = token[...]
    // As many as there are: the file may name any number.
    var removed = 0
    while removed < start, rest.starts(with: character) {
      rest = rest.dropFirst(character.count)
      removed += 1
    }
    removed = 0
    while removed < stop, rest.suffix(character.count).elementsEqual(character) {
      rest = rest.dropLast(character.count)
      removed += 1
    }
    return Array(rest)
  }

  /// As `strip` for one token in fragments: counts at the beginning, and holds back at most `stop` characters that
  /// may turn out to be the end.
  private mutating func stripFragment(
    _ index: Int, _ fragment: [UInt8], _ character: [UInt8], _ start: Int, _ stop: Int
  ) -> [UInt8] {
    var rest = fragment[...]
    while !states[index].begun, !rest.isEmpty {
      guard states[index].stripped < start, rest.starts(with: character) else {
        states[index].begun = true
        break
      }
      rest = rest.dropFirst(character.count)
      states[index].stripped += 1
    }
    guard stop > 0 else { return Array(rest) }
    var result = states[index].held + rest
    var kept = 0
    while kept < stop, result.suffix(character.count).elementsEqual(character) {
      result.removeLast(character.count)
      kept += 1
    }
    states[index].held = []
    for _ in 0..<kept { states[index].held += character }
    return result
  }
}

extension Matcher {
  /// Whether every match is one scalar whatever stands around it, so that fragments can be searched one by one.
  fileprivate var isOneScalar: Bool {
    guard case .literal(let bytes) = self else { return false }
    return bytes.filter { $0 & 0xC0 != 0x80 }.count == 1
  }
}
