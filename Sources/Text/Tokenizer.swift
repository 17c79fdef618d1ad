/// A tokenizer read from a Hugging Face `tokenizer.json`: the ids and texts are those of the `tokenizers` library,
/// `encode(text, add_special_tokens=False)` and `decode(ids)`.
///
/// The stages are one file each: `AddedTokens`, `Normalizer`, `PreTokenizer`, `BPEModel` with `BPEEncoder`,
/// `Decoder`; `PostProcessor` is read and not applied, `truncation` and `padding` are not applied either.
/// A stage that is not implemented is refused when the file is read.
public final class Tokenizer: Sendable {
  /// The file, for messages.
  public let source: String
  /// XXH3-128 of the file's bytes, 32 hexadecimal digits.
  public let contentHash: String
  /// One more than the largest id: the least number of rows of an embedding for these tokens.
  public let vocabularySize: Int
  /// Special tokens that the file's post-processor puts before (after) a text. `encode` adds neither.
  public let prefixIDs: [Int32]
  public let suffixIDs: [Int32]

  private let added: AddedTokens
  private let normalizer: Normalizer?
  private let preTokenizer: PreTokenizer
  private let model: BPEModel
  let decoder: Decoder
  private let scans = ScanFailures()

  /// Bytes of a file, eight times those of the largest in use.
  static let sizeLimit = 1 << 28

  /// Reads the file at `path`.
  public convenience init(contentsOf path: String) throws(TextError) {
    let json = try FileBytes.contents(of: path, limit: Self.sizeLimit, operation: "reading a tokenizer")
    try self.init(json: json, source: path)
  }

  /// - Parameters:
  ///   - json: the bytes of a `tokenizer.json`.
  ///   - source: where they are from, for messages.
  public init(json: [UInt8], source: String) throws(TextError) {
    if let offset = UTF8Scanner.firstInvalidOffset(json.span) {
      throw TextError(
        .malformed, operation: "reading a tokenizer", path: source, expected: "UTF-8",
        found: "an invalid sequence at byte \(offset)")
    }
    let value: JSONValue
    do { value = try JSONReader.read(json.span) } catch {
      throw TextError(
        .malformed, operation: "reading a tokenizer", path: source, expected: "JSON with \(error.expected)",
        found: "\(error.found) at byte \(error.offset)", advice: "a tokenizer.json is needed, not a tokenizer.model")
    }
    let root = StageReader(value: value, place: "", source: source, scans: scans)
    guard value["model"] != nil else {
      throw TextError(
        .malformed, operation: "reading a tokenizer", path: source, expected: "an object with a member model",
        found: value.kindName)
    }
    normalizer = try Normalizer.read(root.member("normalizer"))
    preTokenizer = try PreTokenizer.read(root.member("pre_tokenizer"))
    model = try BPEModel.read(root.member("model"), yieldsBytes: preTokenizer.yieldsBytes)
    added = try AddedTokens.read(root, vocabulary: model.vocabulary, normalizer: normalizer)
    decoder = try Decoder.read(root.member("decoder"))
    let around = try PostProcessor.read(root.member("post_processor"))
    prefixIDs = around.prefix
    suffixIDs = around.suffix
    vocabularySize = max(model.vocabulary.idBound, added.idBound)
    for id in prefixIDs + suffixIDs where id < 0 || Int(id) >= vocabularySize {
      throw root.member("post_processor").inconsistent("ids below \(vocabularySize)", "\(id)")
    }
    contentHash = ContentHash.wide(json.span).hexadecimal
    self.source = source
    // Normalized added tokens have been through the patterns.
    try checkScans()
  }

  /// The token that begins a text, if the file names one.
  public var beginningOfTextID: Int32? { prefixIDs.first }

  /// The tokens of `text`, special tokens that are written in it included, none added.
  /// - Throws: `TextError` if a pattern of the file cannot be matched with bounded effort.
  public func encode(_ text: String) throws(TextError) -> [Int32] { try encode(utf8: Array(text.utf8)) }

  /// The tokens of a text in UTF-8.
  /// - Precondition: `utf8` is well formed; `TextSource` checks files.
  public func encode(utf8: [UInt8]) throws(TextError) -> [Int32] { try encode(utf8, with: BPEEncoder(model)) }

  /// For tests: merges every piece in one, through the heap.
  package func encodeWithoutCuts(_ text: String) throws(TextError) -> [Int32] {
    try encode(Array(text.utf8), with: BPEEncoder(model, scanLimit: 0, cutsPieces: false))
  }

  /// What the pre-tokenizer makes of a text, after normalization and without looking for added tokens.
  package func pieces(of text: String) -> [[UInt8]] {
    var bytes = Array(text.utf8)
    normalizer?.apply(&bytes)
    var pieces: [[UInt8]] = []
    preTokenizer.cut(bytes.span, beginsText: true) { piece in pieces.append(piece.indices.map { piece[$0] }) }
    return pieces
  }

  private func encode(_ utf8: [UInt8], with encoder: consuming BPEEncoder) throws(TextError) -> [Int32] {
    let text = utf8.span
    if let offset = UTF8Scanner.firstInvalidOffset(text) {
      preconditionFailure("text to encode is not UTF-8 at byte \(offset) of \(utf8.count)")
    }
    added.cutRaw(text) { part in
      switch part {
      case .token(let id): encoder.append(id)
      case .text(let range): encodeText(text.extracting(range), beginsText: range.lowerBound == 0, &encoder)
      }
    }
    try checkScans()
    return encoder.takeIDs()
  }

  private func checkScans() throws(TextError) {
    guard let reason = scans.reason else { return }
    throw TextError(
      .unsupported, operation: "encoding", path: source, expected: "patterns that match with bounded effort",
      found: reason, advice: "the tokenizer's patterns backtrack without end on this text")
  }

  private func encodeText(_ text: Span<UInt8>, beginsText: Bool, _ encoder: inout BPEEncoder) {
    guard let normalizer else { return encodeNormalized(text, beginsText, &encoder) }
    var normalized: [UInt8] = []
    normalized.reserveCapacity(text.count)
    for offset in text.indices { normalized.append(text[offset]) }
    normalizer.apply(&normalized)
    encodeNormalized(normalized.span, beginsText, &encoder)
  }

  private func encodeNormalized(_ text: Span<UInt8>, _ beginsText: Bool, _ encoder: inout BPEEncoder) {
    added.cutNormalized(text) { part in
      switch part {
      case .token(let id): encoder.append(id)
      case .text(let range):
        preTokenizer.cut(text.extracting(range), beginsText: beginsText && range.lowerBound == 0) {
          encoder.encode($0)
        }
      }
    }
  }

  /// The text of a sequence of tokens; ids without a token give nothing, ill-formed UTF-8 gives U+FFFD.
  ///
  /// As in the original, an added token that is marked `normalized` is shown as its normalized text, and skipped only
  /// if normalization leaves it as it is.
  public func decode(_ ids: [Int32], skippingSpecialTokens: Bool = false) -> String {
    var run = DecoderRun(decoder)
    for id in ids {
      if let token = text(of: id, skippingSpecialTokens: skippingSpecialTokens) { run.push(token) }
    }
    run.finish()
    return run.takeOutput()
  }

  /// The id of a token by its text in the file, like `<|endoftext|>` or `Ġthe`.
  public func id(of token: String) -> Int32? {
    let bytes = Array(token.utf8)
    return added.tokens.first { $0.content == bytes }?.id ?? model.vocabulary.id(of: bytes)
  }

  /// The text of a token as it stands in the file, undecoded; nil for an id without one.
  public func token(_ id: Int32) -> String? {
    if let token = added[id] { return String(decoding: token.content, as: UTF8.self) }
    return model.vocabulary.token(id).map { String(decoding: $0, as: UTF8.self) }
  }

  public func isSpecial(_ id: Int32) -> Bool { added[id]?.isSpecial ?? false }

  func text(of id: Int32, skippingSpecialTokens: Bool) -> [UInt8]? {
    if let token = added.shown(id) { return token.isSkippable && skippingSpecialTokens ? nil : token.text }
    return model.vocabulary.token(id).map { Array($0) }
  }
}
