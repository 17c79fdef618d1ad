import Tensors
public import Transformer

/// A diagonal between an operation and the linear layer that reads it: the one divides, the other multiplies.
///
///     (x / s) (W · diag s)ᵀ = x Wᵀ
///
/// | site | divided by s | multiplied by s | s has |
/// | --- | --- | --- | --- |
/// | qkv | gain of the input norm | columns of q, k, v | D |
/// | o | rows of v and its bias | columns of o, the factors of a key head for each of its query heads | G·d |
/// | gate_up | gain of the post-attention norm | columns of gate, up | D |
/// | down | rows of up and its bias | columns of down | F |
///
/// Exact in real arithmetic, one rounding an element in fp32. Columns are those of weights without online rotation:
/// scale first, rotate afterwards. Several scalings of a site are one, with the product of their factors.
public struct ChannelScaling: Sendable, Hashable {
  public enum Site: String, Sendable, Hashable, CaseIterable {
    case queryKeyValue = "qkv"
    case output = "o"
    case gateUp = "gate_up"
    case down = "down"

    /// Factors that a scaling of this site has.
    public func width(_ c: ModelConfiguration) -> Int {
      switch self {
      case .queryKeyValue, .gateUp: c.hiddenSize
      case .output: c.keyWidth
      case .down: c.feedForwardSize
      }
    }
  }

  public let site: Site
  public let factors: [Float]

  /// - Parameter factors: positive and finite; a 0 would lose a channel.
  public init(_ site: Site, _ factors: [Float]) {
    precondition(factors.allSatisfy { $0 > 0 && $0.isFinite }, "factors of a scaling are positive")
    self.site = site
    self.factors = factors
  }

  public func apply(to layer: LayerParameters, _ c: ModelConfiguration) {
    let width = site.width(c), s = factors.span
    precondition(factors.count == width, "\(factors.count) factors at \(site.rawValue), which has \(width)")
    switch site {
    case .queryKeyValue:
      layer.inputNorm.divideColumns(by: s)
      layer.queryKeyValue.multiplyColumns(by: s)
    case .gateUp:
      layer.postAttentionNorm.divideColumns(by: s)
      layer.gateUp.multiplyColumns(by: s)
    case .output:
      let first = c.queryWidth + c.keyWidth
      var values = layer.queryKeyValue.rows(first..<first + c.keyWidth)
      values.divideRows(by: s)
      if layer.queryKeyValueBias.count > 0 {
        var bias = layer.queryKeyValueBias.region(first, rows: 1, columns: c.keyWidth)
        bias.divideColumns(by: s)
      }
      layer.output.multiplyColumns(by: Self.expanded(factors, c).span)
    case .down:
      let F = c.feedForwardSize
      var up = layer.gateUp.rows(F..<2 * F)
      up.divideRows(by: s)
      if layer.gateUpBias.count > 0 {
        var bias = layer.gateUpBias.region(F, rows: 1, columns: F)
        bias.divideColumns(by: s)
      }
      layer.down.multiplyColumns(by: s)
    }
  }

  /// Factors (G·d) as the columns of o see them, (H·d): a key head's d factors once for each of its query heads, which
  /// stand next to each other.
  public static func expanded(_ factors: [Float], _ c: ModelConfiguration) -> [Float] {
    let d = c.headDimension, group = c.queryHeads / c.keyHeads
    return (0..<c.queryHeads).flatMap { head in factors[head / group * d..<(head / group + 1) * d] }
  }
}
