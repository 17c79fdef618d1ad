import Text

/// The readers of `Text`.
enum TextTargets {
  /// White space, digits, marks, a character outside the basic plane, one that NFKD makes long, tokens written out.
  static let samples = [
    "The hound's  42 dogs\r\n\tran.", "naïve é e\u{301} 漢字 😀\u{FDFA}\u{2028}x", "<|end|> <s>the</s>  ", "▁a▁▁b",
    String(repeating: "a", count: 24) + " " + String(repeating: "ab ", count: 8),
  ]

  static func tokenizer(_ input: [UInt8]) throws {
    guard let tokenizer = try? Tokenizer(json: input, source: "fuzzed") else { return }
    let known = 0..<Int32(clamping: tokenizer.vocabularySize)
    for id in tokenizer.prefixIDs + tokenizer.suffixIDs {
      try Inconsistency.check(known.contains(id), "token \(id) around a text, of \(tokenizer.vocabularySize)")
    }
    for text in samples {
      guard let ids = try? tokenizer.encode(text) else { continue }
      for id in ids {
        try Inconsistency.check(known.contains(id), "token \(id) of \(tokenizer.vocabularySize)")
        try Inconsistency.check(tokenizer.token(id) != nil, "token \(id) has no text")
      }
      let whole = try? tokenizer.encodeWithoutCuts(text)
      try Inconsistency.check(whole == nil || whole == ids, "other tokens where pieces are cut: \(ids), \(whole ?? [])")
      let decoded = tokenizer.decode(ids)
      var decoder = TokenStreamDecoder(tokenizer)
      var streamed = ""
      for id in ids { streamed.unicodeScalars += decoder.feed(id).unicodeScalars }
      streamed.unicodeScalars += decoder.finish().unicodeScalars
      try Inconsistency.check(
        streamed.utf8.elementsEqual(decoded.utf8),
        "\(decoded.debugDescription) streamed as \(streamed.debugDescription)")
      _ = tokenizer.decode(ids, skippingSpecialTokens: true)
    }
    _ = tokenizer.decode([-1, .max, .min, known.upperBound] + Array(known.prefix(300)))
  }

  static func tokenFile(_ input: [UInt8]) throws {
    let folder = FuzzFolder()
    try tokens(folder.write(input, "tokens.bin"))
    guard input.count >= 128 else { return }
    // Hashes hide everything behind them.
    var input = input
    put(ContentHash.wide(input.span.extracting(128...)), at: 64, &input)
    let narrow = ContentHash.narrow(input.span.extracting(0..<120))
    for byte in 0..<8 { input[120 + byte] = UInt8(truncatingIfNeeded: narrow >> (8 * UInt64(byte))) }
    try tokens(folder.write(input, "tokens.bin"))
  }

  private static func put(_ hash: ContentHash.Wide, at offset: Int, _ bytes: inout [UInt8]) {
    for (index, half) in [hash.high, hash.low].enumerated() {
      for byte in 0..<8 { bytes[offset + 8 * index + byte] = UInt8(truncatingIfNeeded: half >> (8 * UInt64(byte))) }
    }
  }

  private static func tokens(_ path: String) throws {
    guard let file = try? TokenFile(path) else { return }
    let ids = (0..<file.count).map { file[$0] }
    guard (try? file.verify()) != nil else { return }
    let known = 0..<Int32(clamping: file.vocabularySize)
    try Inconsistency.check(ids.allSatisfy { known.contains($0) }, "a verified token outside \(known)")
  }
}
