import Text

extension TokenStream {
  /// The tokens of `paths`: one file written by `mfqat prepare` (.bin), or text files as one stream.
  ///
  /// - Throws: `TextError`, also for a token file that another tokenizer has made.
  static func open(_ paths: [String], tokenizer: Tokenizer) throws(TextError) -> TokenStream {
    if paths.count == 1, paths[0].hasSuffix(".bin") {
      let file = try TokenFile(paths[0])
      guard file.tokenizerHash == tokenizer.contentHash else {
        throw TextError(
          .inconsistent, operation: "reading tokens", path: paths[0],
          expected: "tokens of \(tokenizer.source) (XXH3-128 \(tokenizer.contentHash))",
          found: "tokens of another tokenizer (\(file.tokenizerHash))", advice: "run mfqat prepare with this model")
      }
      return .file(file)
    }
    return .memory(tokenizer.encode(utf8: try TextSource.load(paths).utf8))
  }

  /// Bytes of memory the tokens take.
  var byteCount: Int {
    switch self {
    case .file(let file): file.count * file.width
    case .memory(let ids): ids.count * MemoryLayout<Int32>.stride
    }
  }
}
