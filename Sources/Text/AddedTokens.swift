/// Tokens that are found in the text before the model sees it, like `<|endoftext|>`.
struct AddedTokens: Sendable {
  struct Token: Sendable {
    let id: Int32
    let content: [UInt8]
    let isSpecial: Bool
    /// Only where no word character stands next to it.
    let singleWord: Bool
    /// Takes the white space before (after) it with it.
    let stripsLeft: Bool
    let stripsRight: Bool
    /// Looked for in the normalized text, and normalized itself.
    let isNormalized: Bool
  }

  /// A part of a text: a token, or what lies between tokens.
  enum Part: Equatable {
    case token(Int32)
    case text(Range<Int>)
  }

  let tokens: [Token]
  private var indexOfID: [Int32: Int] = [:]
  /// What each token is decoded as: a normalized token as its normalized content.
  private var shown: [[UInt8]]
  private var skippable: [Bool]
  private var raw = TokenTrie()
  private var normalized = TokenTrie()

  /// - Parameters:
  ///   - root: the whole file.
  ///   - vocabulary: the model's; an added token that is in it must have its id.
  static func read(
    _ root: StageReader, vocabulary: Vocabulary, normalizer: Normalizer?
  ) throws(TextError) -> AddedTokens {
    var tokens: [Token] = []
    if let list = root.value["added_tokens"], !list.isNull {
      for stage in try root.elements("added_tokens") { tokens.append(try one(stage, vocabulary)) }
    }
    var seen: Set<Int32> = []
    for token in tokens where !seen.insert(token.id).inserted {
      throw root.member("added_tokens").inconsistent("each id once", "id \(token.id) twice")
    }
    return AddedTokens(tokens, normalizer)
  }

  private static func one(_ stage: StageReader, _ vocabulary: Vocabulary) throws(TextError) -> Token {
    let content = try stage.bytes("content")
    let id = try stage.integer("id", default: -1)
    let name = String(decoding: content, as: UTF8.self)
    guard (0...Vocabulary.largestID).contains(id), !content.isEmpty else {
      throw stage.malformed("a content and an id 0...\(Vocabulary.largestID)", "\"\(name)\" and \(id)")
    }
    let known = vocabulary.id(of: content)
    if let known, Int(known) != id {
      throw stage.inconsistent("the id of \"\(name)\" in the vocabulary, \(known)", "\(id)")
    }
    if known == nil, let other = vocabulary.token(Int32(id)) {
      throw stage.inconsistent(
        "an id for \"\(name)\" that is free", "\(id), which is \"\(String(decoding: other, as: UTF8.self))\"")
    }
    let isSpecial = try stage.bool("special", default: false)
    return Token(
      id: Int32(id), content: content, isSpecial: isSpecial,
      singleWord: try stage.bool("single_word", default: false),
      stripsLeft: try stage.bool("lstrip", default: false), stripsRight: try stage.bool("rstrip", default: false),
      isNormalized: try stage.bool("normalized", default: !isSpecial))
  }

  private init(_ tokens: [Token], _ normalizer: Normalizer?) {
    self.tokens = tokens
    skippable = []
    shown = tokens.map(\.content)
    // Of two tokens with one text the first wins, special ones coming first.
    for (index, token) in tokens.enumerated().filter({ $0.element.isSpecial })
      + tokens.enumerated().filter({ !$0.element.isSpecial })
    {
      indexOfID[token.id] = index
      if token.isNormalized {
        var content = token.content
        normalizer?.apply(&content)
        shown[index] = content
        normalized.insert(content, value: index)
      } else {
        raw.insert(token.content, value: index)
      }
    }
    // The original looks the shown text up among the special tokens as they are written, so a special token that
    // normalization changes is not skipped.
    let special = Set(tokens.filter(\.isSpecial).map(\.content))
    skippable = shown.map { special.contains($0) }
  }

  /// One more than the largest id.
  var idBound: Int { tokens.reduce(0) { max($0, Int($1.id) + 1) } }

  subscript(_ id: Int32) -> Token? { indexOfID[id].map { tokens[$0] } }

  /// The text that an added token is decoded as, and whether it is left out where special tokens are.
  func shown(_ id: Int32) -> (text: [UInt8], isSkippable: Bool)? {
    indexOfID[id].map { (shown[$0], skippable[$0]) }
  }

  /// Cuts the text as it came at the tokens that are not normalized.
  func cutRaw(_ text: Span<UInt8>, _ emit: (Part) -> Void) { cut(text, raw, emit) }

  /// Cuts normalized text at the normalized tokens.
  func cutNormalized(_ text: Span<UInt8>, _ emit: (Part) -> Void) { cut(text, normalized, emit) }

  private func cut(_ text: Span<UInt8>, _ trie: TokenTrie, _ emit: (Part) -> Void) {
    var done = 0
    var offset = 0
    while offset < text.count {
      guard let match = trie.longestMatch(in: text, at: offset) else {
        offset += 1
        continue
      }
      let token = tokens[match.value]
      var start = offset, end = offset + match.length
      offset = end
      if token.singleWord, isWord(before: start, text) || isWord(after: end, text) { continue }
      if token.stripsLeft {
        start = max(done, TextScan.start(ofSpaceBefore: start, text))
      }
      if token.stripsRight { end = TextScan.end(ofSpaceAfter: end, text) }
      if done < start { emit(.text(done..<start)) }
      emit(.token(token.id))
      done = end
    }
    if done < text.count { emit(.text(done..<text.count)) }
  }

  private func isWord(before offset: Int, _ text: Span<UInt8>) -> Bool {
    guard let scalar = TextScan.scalar(before: offset, text)?.scalar else { return false }
    return TextScan.isWord(scalar)
  }

  private func isWord(after offset: Int, _ text: Span<UInt8>) -> Bool {
    guard let scalar = TextScan.scalar(after: offset, text)?.scalar else { return false }
    return TextScan.isWord(scalar)
  }
}

/// Looking around in UTF-8.
private enum TextScan {
  static func scalar(after offset: Int, _ text: Span<UInt8>) -> (scalar: Unicode.Scalar, length: Int)? {
    guard offset < text.count, case .scalar(let value, let length) = UTF8Scanner.step(text, at: offset) else {
      return nil
    }
    return (Unicode.Scalar(value)!, length)
  }

  static func scalar(before offset: Int, _ text: Span<UInt8>) -> (scalar: Unicode.Scalar, length: Int)? {
    var start = offset - 1
    while start > 0, text[start] & 0xC0 == 0x80 { start -= 1 }
    return start < 0 ? nil : scalar(after: start, text)
  }

  static func start(ofSpaceBefore offset: Int, _ text: Span<UInt8>) -> Int {
    var start = offset
    while let (scalar, length) = scalar(before: start, text), scalar.properties.isWhitespace { start -= length }
    return start
  }

  static func end(ofSpaceAfter offset: Int, _ text: Span<UInt8>) -> Int {
    var end = offset
    while let (scalar, length) = scalar(after: end, text), scalar.properties.isWhitespace { end += length }
    return end
  }

  /// `\w` (UTS 18, annex C).
  static func isWord(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: true
    default: scalar.properties.isAlphabetic || scalar.properties.isJoinControl
    }
  }
}

/// Byte strings by their common beginnings: children are a linked list of siblings.
struct TokenTrie: Sendable {
  private var roots = [Int32](repeating: -1, count: 256)
  private var bytes: [UInt8] = []
  private var child: [Int32] = []
  private var sibling: [Int32] = []
  private var values: [Int32] = []

  /// Adds a key; an earlier equal one stays. An empty key would be everywhere and is nowhere.
  mutating func insert(_ key: [UInt8], value: Int) {
    guard let first = key.first else { return }
    if roots[Int(first)] < 0 { roots[Int(first)] = newNode(first) }
    var node = Int(roots[Int(first)])
    for byte in key.dropFirst() {
      if let below = find(byte, below: node) {
        node = below
      } else {
        let below = newNode(byte)
        sibling[Int(below)] = child[node]
        child[node] = below
        node = Int(below)
      }
    }
    if values[node] < 0 { values[node] = Int32(value) }
  }

  func longestMatch(in text: Span<UInt8>, at offset: Int) -> (value: Int, length: Int)? {
    var node = Int(roots[Int(text[offset])])
    var best: (Int, Int)?
    var length = 1
    while node >= 0 {
      if values[node] >= 0 { best = (Int(values[node]), length) }
      guard offset + length < text.count, let below = find(text[offset + length], below: node) else { break }
      node = below
      length += 1
    }
    return best
  }

  private mutating func newNode(_ byte: UInt8) -> Int32 {
    bytes.append(byte)
    child.append(-1)
    sibling.append(-1)
    values.append(-1)
    return Int32(bytes.count - 1)
  }

  private func find(_ byte: UInt8, below node: Int) -> Int? {
    var candidate = Int(child[node])
    while candidate >= 0, bytes[candidate] != byte { candidate = Int(sibling[candidate]) }
    return candidate < 0 ? nil : candidate
  }
}
