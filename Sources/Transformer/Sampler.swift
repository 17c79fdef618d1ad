#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif
import Tensors

/// Chooses the next token from logits.
///
/// The choice at a position is a function of (seed, position, logits): it does not depend on what was drawn before.
public final class Sampler {
  /// 0 takes the most likely token, the lowest id among equals; otherwise logits are divided by it.
  public let temperature: Double
  /// Only so many of the most likely tokens; nil for all.
  public let topK: Int?
  /// Only the most likely tokens that together reach this probability; nil for all.
  public let topP: Double?
  private let random: CounterRandom
  private var probabilities: [Double] = []
  private var order: [Int32] = []

  public init(temperature: Double = 0, seed: UInt64 = 0, topK: Int? = nil, topP: Double? = nil) throws(ModelError) {
    guard temperature >= 0, temperature.isFinite else {
      throw ModelError("sampling", "temperature \(temperature)", hint: "Expected 0 (most likely token) or a positive number.")
    }
    if let topK, topK < 1 { throw ModelError("sampling", "top-k \(topK)", hint: "Expected at least 1.") }
    if let topP, !(topP > 0 && topP <= 1) { throw ModelError("sampling", "top-p \(topP)", hint: "Expected above 0, at most 1.") }
    self.temperature = temperature
    self.topK = topK
    self.topP = topP
    random = CounterRandom(seed: seed, stream: "sampling")
  }

  /// The token at `position` of the text.
  ///
  /// - Throws: `ModelError` where a logit is NaN or infinite.
  public func sample(_ logits: Span<Float>, position: Int) throws(ModelError) -> Int32 {
    precondition(logits.count > 0, "no logits")
    var best = 0
    for i in logits.indices {
      guard logits[i].isFinite else {
        throw ModelError("model", "the logit of token \(i) at position \(position) is \(logits[i])",
          hint: "The weights hold numbers that cannot be used.")
      }
      if logits[i] > logits[best] { best = i }
    }
    if temperature.isZero || topK == 1 { return Int32(best) }
    prepare(logits, maximum: Double(logits[best]))
    return topK == nil && topP == nil ? drawFromAll(position) : drawFromBest(position)
  }

  // exp((z - max) / temperature), unnormalized: the largest is 1.
  private func prepare(_ logits: Span<Float>, maximum: Double) {
    if probabilities.count != logits.count { probabilities = Array(repeating: 0, count: logits.count) }
    for i in logits.indices { probabilities[i] = exp((Double(logits[i]) - maximum) / temperature) }
  }

  private func drawFromAll(_ position: Int) -> Int32 {
    var sum = 0.0
    for p in probabilities { sum += p }
    var rest = random.uniform(UInt64(position)) * sum
    var last = 0
    for i in probabilities.indices where probabilities[i] > 0 {
      rest -= probabilities[i]
      if rest < 0 { return Int32(i) }
      last = i
    }
    // Rounding of the running difference: the last token that has any probability.
    return Int32(last)
  }

  private func drawFromBest(_ position: Int) -> Int32 {
    if order.count != probabilities.count { order = Array(0..<Int32(probabilities.count)) }
    order.sort { a, b in
      let (p, q) = (probabilities[Int(a)], probabilities[Int(b)])
      return p != q ? p > q : a < b
    }
    // top-p looks at the distribution that top-k leaves, as transformers does.
    let most = min(topK ?? order.count, order.count)
    var kept = 0, mass = 0.0, total = 0.0
    for token in order.prefix(most) { total += probabilities[Int(token)] }
    while kept < most && (kept == 0 || mass < (topP ?? 2) * total) {
      mass += probabilities[Int(order[kept])]
      kept += 1
    }
    var rest = random.uniform(UInt64(position)) * mass
    for token in order.prefix(kept) {
      rest -= probabilities[Int(token)]
      if rest < 0 { return token }
    }
    return order[kept - 1]
  }
}
