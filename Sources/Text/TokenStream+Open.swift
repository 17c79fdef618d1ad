extension TokenStream {
  /// The tokens of `paths`: one file written by `mfqat prepare` (.bin), or text files as one stream.
  ///
  /// - Parameter vocabulary: rows of the embedding that the tokens are for: a kernel reads them without asking.
  /// - Throws: `TextError`, also for a token file that is damaged or that another tokenizer has made, and for an id beyond
  ///   the embedding.
  public static func open(
    _ paths: [String], tokenizer: Tokenizer, vocabulary: Int
  ) throws(TextError) -> TokenStream {
    let stream: TokenStream
    if paths.count == 1, paths[0].hasSuffix(".bin") {
      let file = try TokenFile(paths[0])
      guard file.tokenizerHash == tokenizer.contentHash else {
        throw TextError(
          .inconsistent, operation: "reading tokens", path: paths[0],
          expected: "tokens of \(tokenizer.source) (XXH3-128 \(tokenizer.contentHash))",
          found: "tokens of another tokenizer (\(file.tokenizerHash))", advice: "run mfqat prepare with this model")
      }
      try file.verify()
      stream = .file(file)
    } else {
      stream = .memory(try tokenizer.encode(utf8: TextSource.load(paths).utf8))
    }
    let rows = Int32(clamping: vocabulary)
    if let position = (0..<stream.count).first(where: { stream[$0] < 0 || stream[$0] >= rows }) {
      throw TextError(
        .inconsistent, operation: "reading tokens", path: tokenizer.source, expected: "tokens below \(rows)",
        found: "token \(stream[position]) of \(paths.joined(separator: ", ")), beyond the vocabulary of the model",
        advice: "the tokenizer belongs to another model")
    }
    return stream
  }

  /// What tells these tokens from others: equal for equal tokens from the same kind of file.
  public var identity: String {
    switch self {
    case .file(let file): "\(file.count) tokens of text \(file.textHash) by tokenizer \(file.tokenizerHash)"
    case .memory(let ids): "\(ids.count) tokens with XXH3-128 \(Self.hash(of: ids))"
    }
  }

  /// Bytes of memory the tokens take.
  public var byteCount: Int {
    switch self {
    case .file(let file): file.count * file.width
    case .memory(let ids): ids.count * MemoryLayout<Int32>.stride
    }
  }

  private static func hash(of ids: [Int32]) -> String {
    // Sound: the bytes of the ids, for the time of the call.
    unsafe ids.withUnsafeBytes { raw in
      unsafe ContentHash.wide(Span(_unsafeStart: raw.baseAddress!.assumingMemoryBound(to: UInt8.self), count: raw.count)).hexadecimal
    }
  }
}
