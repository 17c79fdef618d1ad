/// Text while tokens arrive: what `feed` returns, all together, then `finish`, is `Tokenizer.decode` of the ids.
///
/// A piece of text is returned as soon as no later token can change it: half a character waits for its other half,
/// and with byte fallback a run of byte tokens waits for the next ordinary token.
public struct TokenStreamDecoder: Sendable {
  private let tokenizer: Tokenizer
  private let skipsSpecialTokens: Bool
  private var run: DecoderRun

  public init(_ tokenizer: Tokenizer, skippingSpecialTokens: Bool = false) {
    self.tokenizer = tokenizer
    skipsSpecialTokens = skippingSpecialTokens
    run = DecoderRun(tokenizer.decoder)
  }

  /// Takes one token and returns the text that is now certain, often none.
  public mutating func feed(_ id: Int32) -> String {
    guard let token = tokenizer.text(of: id, skippingSpecialTokens: skipsSpecialTokens) else { return "" }
    run.push(token)
    return run.takeOutput()
  }

  /// Returns what was held back and begins anew.
  public mutating func finish() -> String {
    run.finish()
    let rest = run.takeOutput()
    run = DecoderRun(tokenizer.decoder)
    return rest
  }
}
