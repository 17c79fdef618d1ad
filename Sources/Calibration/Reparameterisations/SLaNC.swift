public import Checkpoints
import Kernels
import Tensors
public import Transformer

/// Static scales for the inputs of norms, from the weights alone, that keep sums of squares in FP16's range
/// (SLaNC: Salmani et al., arXiv 2410.10553, section 3).
///
/// A norm of x / n with ε / n² is the norm of x with ε. The constants bound how far a block can take the residual
/// stream:
///
///     first norm               1
///     post-attention norm      ‖(W_o W_v↑ + I) diag γ‖_F                 W_v↑: v's rows, once a query head
///     norm after feed-forward  ‖W_down W_up diag γ‖_F · ‖W_gate diag γ‖₂
///
/// with γ the gain of the norm before. Under grouped queries the rows of one key head are repeated next to each other
/// (head 0, 0, 1, 1), as attention reads them; the authors' code repeats the whole of v instead (0, 1, 0, 1).
///
/// Norms here sum in fp32 and need no scale. The constants are recorded because they are a measure of how much the
/// residual stream may grow, layer by layer, and for machines whose norms sum in FP16 (``HalfNorm``).
public struct SLaNC: Sendable, Hashable {
  /// n of each layer's input norm, of its post-attention norm, and of the final norm.
  public let inputNorms: [Double]
  public let postAttentionNorms: [Double]
  public let finalNorm: Double

  /// What one layer adds: n of the norm inside it, and of the norm that follows it.
  public struct Layer: Sendable, Hashable {
    public let postAttention: Double
    public let postFeedForward: Double

    public init(postAttention: Double, postFeedForward: Double) {
      self.postAttention = postAttention
      self.postFeedForward = postFeedForward
    }
  }

  public init(_ layers: [Layer]) {
    precondition(!layers.isEmpty, "a model without layers")
    inputNorms = [1] + layers.dropLast().map(\.postFeedForward)
    postAttentionNorms = layers.map(\.postAttention)
    finalNorm = layers[layers.count - 1].postFeedForward
  }

  /// `{"input_layernorm": [...], "post_attention_layernorm": [...], "norm": n}`
  public var json: JSONValue {
    [
      "input_layernorm": .array(inputNorms.map { .number($0) }),
      "post_attention_layernorm": .array(postAttentionNorms.map { .number($0) }),
      "norm": .number(finalNorm),
    ]
  }
}

extension SLaNC.Layer {
  /// From the weights of one layer as they are: before or after folding (the constants differ: the identity of the
  /// residual has no gain once it is folded), not with online rotations in them.
  public init(_ layer: LayerParameters, _ c: ModelConfiguration) {
    let arena = Arena("SLaNC"), D = c.hiddenSize, F = c.feedForwardSize
    var expanded = Tensor(rows: c.queryWidth, columns: D, in: arena)
    Self.expand(layer.queryKeyValue.rows(c.queryWidth + c.keyWidth..<c.queryKeyValueWidth), into: &expanded, c)
    postAttention = Self.frobenius(
      of: layer.output, times: expanded, plusIdentity: true, gain: layer.inputNorm, in: arena)
    let growth = Self.frobenius(
      of: layer.down, times: layer.gateUp.rows(F..<2 * F), plusIdentity: false,
      gain: layer.postAttentionNorm, in: arena)
    var gate = Tensor(rows: F, columns: D, in: arena)
    gate.copy(from: layer.gateUp.rows(0..<F))
    gate.multiplyColumns(by: layer.postAttentionNorm.span)
    postFeedForward = growth * PowerIteration.spectralNorm(of: gate)
  }

  /// Rows of v, (G·d, D), as the query heads see them, (H·d, D).
  static func expand(_ v: borrowing Tensor, into out: inout Tensor, _ c: ModelConfiguration) {
    let d = c.headDimension, group = c.queryHeads / c.keyHeads
    for head in 0..<c.queryHeads {
      var rows = out.rows(head * d..<(head + 1) * d)
      rows.copy(from: v.rows(head / group * d..<(head / group + 1) * d))
    }
  }

  /// ‖(A B (+ I)) diag γ‖_F, in tiles of rows: the product of large matrices is never whole in memory.
  private static func frobenius(
    of a: borrowing Tensor, times b: borrowing Tensor, plusIdentity: Bool, gain: borrowing Tensor, in arena: Arena
  ) -> Double {
    let tileRows = 128
    let memory = Tensor(rows: min(tileRows, a.rows), columns: b.columns, in: arena)
    var sum = 0.0
    for first in stride(from: 0, to: a.rows, by: tileRows) {
      let rows = first..<min(a.rows, first + tileRows)
      var tile = memory.rows(0..<rows.count)
      Linear.backwardInput(&tile, from: a.rows(rows), weight: b)
      if plusIdentity { addDiagonal(&tile, from: first) }
      tile.multiplyColumns(by: gain.span)
      sum += tile.squaredNorm
    }
    return sum.squareRoot()
  }

  private static func addDiagonal(_ tile: inout Tensor, from first: Int) {
    let (rows, columns) = (tile.rows, tile.columns)
    var values = tile.mutableSpan
    for i in 0..<rows { values[i * columns + first + i] += 1 }
  }
}
