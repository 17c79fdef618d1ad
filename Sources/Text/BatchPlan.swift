/// Which tokens are in which sequence of which step.
///
/// The text is cut into consecutive windows of `context` tokens, the rest dropped. Sequences are numbered through the
/// whole run: `sample` = step · sequences a step + place in the step. Epoch e, the samples e · windowCount and
/// on, visits every window once, in an order that is a function of (seed, e). So a window is a function of
/// (seed, step, lane, place) and never of the number of ranks.
public struct BatchPlan: Sendable {
  public let context: Int
  public let windowCount: Int
  public let seed: UInt64
  /// Without it windows come in the order of the text, every epoch alike.
  public let shuffle: Bool

  /// What a target is where there is nothing to predict.
  public static let noTarget: Int32 = -1

  /// - Parameters:
  ///   - tokenCount: of the text.
  ///   - context: tokens a window, at least 2.
  ///   - seed: the run's seed.
  ///   - shuffle: whether the order is random.
  ///   - source: the text's name for the error.
  /// - Throws: `TextError` of kind `tooShort` if the text has less than one window.
  public init(
    tokenCount: Int, context: Int, seed: UInt64, shuffle: Bool = true, source: String = "the text"
  ) throws(TextError) {
    precondition(tokenCount >= 0 && context >= 2, "plan over \(tokenCount) tokens with a context of \(context)")
    guard tokenCount >= context else {
      throw TextError(
        .tooShort, operation: "cutting into windows", path: source,
        expected: "at least \(context) tokens for one window", found: "\(tokenCount) tokens",
        advice: "give more text or a context of at most \(tokenCount)")
    }
    self.context = context
    self.seed = seed
    self.shuffle = shuffle
    windowCount = tokenCount / context
  }

  /// As above, over a stream.
  public init(_ stream: TokenStream, context: Int, seed: UInt64, shuffle: Bool = true) throws(TextError) {
    try self.init(
      tokenCount: stream.count, context: context, seed: seed, shuffle: shuffle, source: stream.name)
  }

  /// The window of a sample, 0..<windowCount.
  public func windowIndex(sample: Int) -> Int {
    precondition(sample >= 0, "sample \(sample)")
    let (epoch, place) = sample.quotientAndRemainder(dividingBy: windowCount)
    guard shuffle else { return place }
    return WindowPermutation(count: windowCount, seed: seed, epoch: epoch)[place]
  }

  /// The tokens of a window.
  public func tokens(window: Int) -> Range<Int> {
    precondition(window >= 0 && window < windowCount, "window \(window) of \(windowCount)")
    return window * context..<(window + 1) * context
  }

  /// Writes a sample: `ids` [context], and `targets` [context] with the next token of each place; the last place of
  /// a window has `noTarget`.
  public func fill(
    ids: inout MutableSpan<Int32>, targets: inout MutableSpan<Int32>, sample: Int, from stream: TokenStream
  ) {
    precondition(
      ids.count == context && targets.count == context,
      "\(ids.count) ids and \(targets.count) targets for a context of \(context)")
    stream.copy(from: tokens(window: windowIndex(sample: sample)).lowerBound, into: &ids)
    for place in 0..<(context - 1) { targets[place] = ids[place + 1] }
    targets[context - 1] = Self.noTarget
  }
}
