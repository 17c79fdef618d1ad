/// The second stage: cuts normalized text into pieces that the model encodes each by itself.
struct PreTokenizer: Sendable {
  enum Stage: Sendable {
    case split(Matcher, SplitBehavior, invert: Bool)
    case metaspace(replacement: [UInt8], scheme: PrependScheme, split: Bool)
    /// Cuts by GPT-2's pattern (if any); the bytes then stand for characters of `ByteAlphabet`.
    case byteLevel(addPrefixSpace: Bool, Pattern?)
  }

  enum PrependScheme: String, Sendable {
    /// Only in front of the piece that begins the text.
    case first
    case always
    case never
  }

  /// GPT-2's split (Radford et al. 2019, `encoder.py`).
  static let gpt2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

  let stages: [Stage]
  /// Pieces are bytes of `ByteAlphabet` and not characters: the last stage is ByteLevel.
  let yieldsBytes: Bool

  static func read(_ stage: StageReader) throws(TextError) -> PreTokenizer {
    var stages: [Stage] = []
    if !stage.value.isNull { try flatten(stage, into: &stages) }
    try StageLimits.check(stages.count, stage)
    var yieldsBytes = false
    for (index, one) in stages.enumerated() {
      guard case .byteLevel = one else { continue }
      guard index == stages.count - 1 else {
        throw stage.unsupported("ByteLevel as the last pre-tokenizer", "ByteLevel before another one")
      }
      yieldsBytes = true
    }
    return PreTokenizer(stages: stages, yieldsBytes: yieldsBytes)
  }

  private static func flatten(_ stage: StageReader, into stages: inout [Stage]) throws(TextError) {
    let type = try stage.type()
    switch type {
    case "Sequence":
      for member in try stage.elements("pretokenizers") { try flatten(member, into: &stages) }
    case "ByteLevel":
      let pattern = try stage.bool("use_regex", default: true) ? try stage.compile(gpt2) : nil
      stages.append(.byteLevel(addPrefixSpace: try stage.bool("add_prefix_space", default: true), pattern))
    case "Split":
      let name = stage.value["behavior"]?.text ?? "none"
      guard let behavior = SplitBehavior(rawValue: name) else {
        throw stage.unsupported(
          "a behavior Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous", "behavior \(name)")
      }
      let invert = try stage.bool("invert", default: false)
      stages.append(.split(try stage.matcher("pattern"), behavior, invert: invert))
    case "Digits":
      let each = try stage.bool("individual_digits", default: false)
      stages.append(.split(.numeric, each ? .isolated : .contiguous, invert: false))
    case "Metaspace":
      stages.append(try metaspace(stage))
    default:
      throw stage.unsupported(
        "a pre-tokenizer Sequence, ByteLevel, Split, Digits or Metaspace", "pre_tokenizer \(type)")
    }
  }

  private static func metaspace(_ stage: StageReader) throws(TextError) -> Stage {
    let replacement = try stage.character("replacement")
    // Files written before 0.14 have add_prefix_space in place of prepend_scheme.
    var scheme = try stage.bool("add_prefix_space", default: true) ? PrependScheme.always : .never
    if let name = stage.value["prepend_scheme"]?.text {
      guard let named = PrependScheme(rawValue: name) else {
        throw stage.unsupported("a prepend_scheme first, always or never", "prepend_scheme \(name)")
      }
      scheme = named
    }
    return .metaspace(replacement: replacement, scheme: scheme, split: try stage.bool("split", default: true))
  }

  /// Calls `emit` with the pieces of `text`, in order, none empty.
  /// - Parameter beginsText: `text` starts where the whole text starts.
  func cut(_ text: Span<UInt8>, beginsText: Bool, _ emit: (Span<UInt8>) -> Void) {
    run(0, text, beginsText, emit)
  }

  private func run(_ index: Int, _ text: Span<UInt8>, _ beginsText: Bool, _ emit: (Span<UInt8>) -> Void) {
    guard text.count > 0 else { return }
    guard index < stages.count else { return emit(text) }
    switch stages[index] {
    case .split(let matcher, let behavior, let invert):
      behavior.cut(text, at: matcher, invert: invert) { range in
        run(index + 1, text.extracting(range), beginsText && range.lowerBound == 0, emit)
      }
    case .metaspace(let replacement, let scheme, let split):
      var marked = Matcher.literal([0x20]).replacing(in: text, with: replacement)
      let prepends =
        switch scheme {
        case .always: true
        case .first: beginsText
        case .never: false
        }
      if prepends, !marked.starts(with: replacement) { marked.insert(contentsOf: replacement, at: 0) }
      guard split else { return run(index + 1, marked.span, beginsText, emit) }
      SplitBehavior.mergedWithNext.cut(marked.span, at: .literal(replacement)) { range in
        run(index + 1, marked.span.extracting(range), beginsText && range.lowerBound == 0, emit)
      }
    case .byteLevel(let addPrefixSpace, let pattern):
      guard addPrefixSpace, text[0] != 0x20 else { return cutBytes(text, pattern, emit) }
      var prefixed: [UInt8] = [0x20]
      prefixed.reserveCapacity(text.count + 1)
      for offset in text.indices { prefixed.append(text[offset]) }
      cutBytes(prefixed.span, pattern, emit)
    }
  }

  private func cutBytes(_ text: Span<UInt8>, _ pattern: Pattern?, _ emit: (Span<UInt8>) -> Void) {
    guard let pattern else { return emit(text) }
    SplitBehavior.isolated.cut(text, at: .pattern(pattern)) { emit(text.extracting($0)) }
  }
}
