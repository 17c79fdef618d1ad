import Kernels
public import Tensors
public import Transformer

/// RMSNorm gains move into the columns of the linear layers that read them, and become 1.
///
///   W (γ ∘ n) = (W · diag γ) n
///
/// A norm with gain 1 commutes with every rotation of the residual stream: |xQ| = |x|. That is what
/// ``ResidualRotation`` needs (QuaRot, Ashkboos et al., arXiv 2404.00456, section 4, stage 1a). The norms of queries
/// and keys (Qwen3) stand inside a head, behind the projection, and stay.
public enum NormFolding {
  /// The configuration that folded weights are stored under: the head is a matrix of its own. A tied one would hand
  /// the final norm's gain to the embedding.
  public static func target(of c: ModelConfiguration) -> ModelConfiguration {
    var target = c
    target.tiedHead = false
    return target
  }

  /// The checkpoint name of the tensor that the target's head starts from: the embedding where the head is tied.
  public static func headSource(of c: ModelConfiguration) -> String {
    c.tiedHead ? ParameterLayout.embeddingName : ParameterLayout.headName
  }

  /// input_layernorm into q, k and v; post_attention_layernorm into gate and up. Folding twice changes nothing.
  public static func fold(_ layer: LayerParameters) {
    layer.queryKeyValue.multiplyColumns(by: layer.inputNorm.span)
    layer.inputNorm.fill(with: 1)
    layer.gateUp.multiplyColumns(by: layer.postAttentionNorm.span)
    layer.postAttentionNorm.fill(with: 1)
  }

  /// The final norm's gain, (D), into the head, (V, D), which is not the embedding's memory.
  public static func fold(finalNorm gain: inout Tensor, into head: inout Tensor) {
    head.multiplyColumns(by: gain.span)
    gain.fill(with: 1)
  }
}
