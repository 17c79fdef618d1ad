public import Tensors

/// Scales that move part of the activations' range into the weights (Xiao et al., arXiv 2211.10438, eq. 4).
///
///   s_j = max|x_j|^α / max|W_:j|^(1-α),   both maxima at least 1e-5
///
/// Used at the inputs of norms only, qkv and gate_up; the maximum over W runs over all matrices that share the input.
public enum SmoothQuant {
  public static let sites: [ChannelScaling.Site] = [.queryKeyValue, .gateUp]
  static let floor: Float = 1e-5

  /// - Parameters:
  ///   - activations: max|x_j| over all tokens, (K).
  ///   - weights: max|W_:j|, (K), as ``columnMaxima(of:)`` gives.
  ///   - alpha: 0 leaves the activations as they are, 1 makes them equal.
  public static func factors(activations: [Float], weights: [Float], alpha: Double) -> [Float] {
    precondition(activations.count == weights.count, "\(activations.count) channels, \(weights.count) columns")
    precondition((0...1).contains(alpha), "alpha \(alpha) is not in 0...1")
    return zip(activations, weights).map { x, w in
      Float(power(Double(max(x, floor)), alpha) / power(Double(max(w, floor)), 1 - alpha))
    }
  }

  /// max|W_:j|, (K), of W (N, K); q, k and v, or gate and up, are one W already.
  public static func columnMaxima(of weight: borrowing Tensor) -> [Float] {
    var maxima = [Float](repeating: 0, count: weight.columns)
    let values = weight.span, columns = weight.columns
    for i in 0..<weight.rows {
      for j in 0..<columns { maxima[j] = max(maxima[j], values[i * columns + j].magnitude) }
    }
    return maxima
  }
}
