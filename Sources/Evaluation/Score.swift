/// What one window contributes to a score. A score is the windows' contributions in ascending order, so windows may be
/// scored anywhere: the figures are those of one process, to the bit.
public struct WindowScore: Sendable, Hashable {
  /// Counted from the start of the text.
  public let window: Int
  /// Nats, summed over the scored tokens in order.
  public let negativeLogLikelihood: Double
  /// KL(reference ‖ model) of each scored token, in order; empty without a reference.
  public let divergences: [Double]
  public let sameTopCount: Int

  init(window: Int, negativeLogLikelihood: Double, divergences: [Double], sameTopCount: Int) {
    self.window = window
    self.negativeLogLikelihood = negativeLogLikelihood
    self.divergences = divergences
    self.sameTopCount = sameTopCount
  }

  // MARK: As numbers, to travel between ranks

  /// Numbers that ``values`` has, the same for all windows of an evaluation.
  public static func valueCount(context: Int, isCompared: Bool) -> Int { 3 + (isCompared ? context - 1 : 0) }

  /// Window, loss, agreements, divergences: exact as doubles.
  public var values: [Double] { [Double(window), negativeLogLikelihood, Double(sameTopCount)] + divergences }

  /// - Precondition: `values` are those of a window's score.
  public init(values: some Collection<Double>) {
    let values = Array(values)
    precondition(values.count >= 3, "a window's score in \(values.count) values")
    self.init(
      window: Int(values[0]), negativeLogLikelihood: values[1], divergences: Array(values[3...]),
      sameTopCount: Int(values[2]))
  }
}

/// Sums over scored tokens, and the figures they give.
public struct Score: Sendable, Hashable {
  public private(set) var windows = 0
  public let context: Int
  public private(set) var negativeLogLikelihood = 0.0
  public private(set) var divergence = 0.0
  public private(set) var divergences = DivergenceHistogram()
  public private(set) var sameTopCount = 0
  /// Whether there was a reference.
  public private(set) var isCompared = false

  /// Nothing scored yet.
  public init(context: Int) { self.context = context }

  /// The windows of a text, in whatever order they come.
  public init(context: Int, windows: some Sequence<WindowScore>) {
    self.init(context: context)
    for window in windows.sorted(by: { $0.window < $1.window }) { add(window) }
  }

  /// Adds the next window. The order of windows decides the last bits of the sums.
  public mutating func add(_ window: WindowScore) {
    windows += 1
    negativeLogLikelihood += window.negativeLogLikelihood
    for divergence in window.divergences {
      self.divergence += divergence
      divergences.insert(divergence)
    }
    sameTopCount += window.sameTopCount
    isCompared = isCompared || !window.divergences.isEmpty
  }

  public var tokensScored: Int { windows * (context - 1) }
  /// Mean nats a token.
  public var nll: Double { negativeLogLikelihood / Double(tokensScored) }
  /// Mean KL(reference ‖ model) in nats a token.
  public var kl: Double? { isCompared ? divergence / Double(tokensScored) : nil }
  /// The 99 % quantile of that KL over tokens, within the resolution of ``DivergenceHistogram``.
  public var kl99: Double? { isCompared ? divergences.quantile(0.99) : nil }
  /// The largest KL of a token.
  public var klMaximum: Double? { isCompared ? divergences.maximum : nil }
  /// Share of positions whose most likely token is the reference's.
  public var sameTop: Double? { isCompared ? Double(sameTopCount) / Double(tokensScored) : nil }
}
