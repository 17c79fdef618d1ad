import Checkpoints
import Text
import Transformer

extension TokenStream {
  /// The tokens of `paths`: one file written by `mfqat prepare` (.bin), or text files as one stream.
  ///
  /// - Parameter model: what the tokens are for; every id must have a row of its embedding, which a kernel reads without
  ///   asking.
  /// - Throws: `TextError`, also for a token file that is damaged or that another tokenizer has made; `ModelError` for an
  ///   id beyond the embedding.
  static func open(_ paths: [String], tokenizer: Tokenizer, model: ModelConfiguration) throws -> TokenStream {
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
    let rows = Int32(clamping: model.vocabularySize)
    if let position = (0..<stream.count).first(where: { stream[$0] < 0 || stream[$0] >= rows }) {
      throw ModelError(
        tokenizer.source,
        "token \(stream[position]) of \(paths.joined(separator: ", ")) is beyond the vocabulary of the model, which has \(rows)",
        hint: "The tokenizer belongs to another model.")
    }
    return stream
  }

  /// What tells these tokens from others: equal for equal tokens from the same kind of file.
  var identity: String {
    switch self {
    case .file(let file): "\(file.count) tokens of text \(file.textHash) by tokenizer \(file.tokenizerHash)"
    case .memory(let ids): "\(ids.count) tokens with XXH3-128 \(unsafe ids.withUnsafeBytes { unsafe ContentHash($0) })"
    }
  }

  /// Bytes of memory the tokens take.
  var byteCount: Int {
    switch self {
    case .file(let file): file.count * file.width
    case .memory(let ids): ids.count * MemoryLayout<Int32>.stride
    }
  }
}
