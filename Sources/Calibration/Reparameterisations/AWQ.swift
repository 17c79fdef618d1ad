public import Formats
import Kernels
public import Tensors
public import Transformer

/// Activation-aware weight scales: channels that carry large activations are rounded on a finer grid
/// (Lin et al., arXiv 2306.00978; the search as in the code of llm-awq).
///
/// For r = 0, 1/20, ... 19/20 and a_j = mean|x_j| the candidate is s = max(a^r, 1e-4), divided by sqrt(max s · min s);
/// the one whose module's output changes least wins. r = 0 gives s = 1 to the bit: plain rounding.
public enum AWQ {
  public static let candidateCount = 20
  static let floor = 1e-4

  /// Where scales are searched: o only where every query head has its own values, as in the paper's code.
  public static func sites(_ c: ModelConfiguration) -> (sites: [ChannelScaling.Site], notes: [String]) {
    c.queryHeads == c.keyHeads
      ? (ChannelScaling.Site.allCases, [])
      : ([.queryKeyValue, .gateUp, .down],
        ["AWQ leaves o alone: \(c.queryHeads) query heads share \(c.keyHeads) heads of values"])
  }

  /// Candidate `index` from the mean magnitudes (K) of the input's channels.
  public static func factors(means: [Float], candidate index: Int) -> [Float] {
    precondition((0..<candidateCount).contains(index), "candidate \(index) of \(candidateCount)")
    let ratio = Double(index) / Double(candidateCount)
    let s = means.map { max(power(Double($0), ratio), floor) }
    let largest = s.max() ?? 1, smallest = s.min() ?? 1
    let norm = (largest * smallest).squareRoot()
    return s.map { Float($0 / norm) }
  }

  /// `out` = Q(W · diag s) · diag s⁻¹: what the scaled layer computes with, in the place of W (N, K).
  ///
  /// - Parameter rotate: the online rotation of the site, x <- x R or (inverse) x <- x Rᵀ; rounding then happens between
  ///   the two, Q(W · diag s · R) · Rᵀ · diag s⁻¹.
  public static func scaledRounding(
    _ out: inout Tensor, of weight: borrowing Tensor, factors: [Float], format: MXFormat, rule: ScaleRule = .floor,
    rotate: (_ x: inout Tensor, _ inverse: Bool) -> Void = { _, _ in }
  ) {
    out.copy(from: weight)
    out.multiplyColumns(by: factors.span)
    rotate(&out, false)
    BlockCodec.roundTrip(inPlace: &out, format: format, rule: rule)
    rotate(&out, true)
    out.divideColumns(by: factors.span)
  }

  public struct Search: Sendable, Hashable {
    /// The candidate with the least loss; the lowest of equals.
    public let candidate: Int
    /// Loss of every candidate, ratio 0 first.
    public let losses: [Double]
    public var loss: Double { losses[candidate] }
    /// Of plain rounding.
    public var unscaledLoss: Double { losses[0] }
  }

  /// - Parameter loss: mean squared change of the module's output with candidate `i`; on several ranks the same number
  ///   on all. A loss that is no number never wins.
  public static func search<Failure: Error>(
    loss: (_ candidate: Int) throws(Failure) -> Double
  ) throws(Failure) -> Search {
    var losses: [Double] = [], best = 0
    for i in 0..<candidateCount {
      let value = try loss(i)
      losses.append(value)
      if value < losses[best] || losses[best].isNaN && !value.isNaN { best = i }
    }
    return Search(candidate: best, losses: losses)
  }
}
