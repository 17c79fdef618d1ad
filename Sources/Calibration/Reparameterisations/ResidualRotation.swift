public import Tensors
public import Transformer

/// One rotation of the residual stream, written into every matrix that reads or writes it (R1 of QuaRot, arXiv
/// 2404.00456).
///
/// Q = diag(s) · H_D / sqrt(D) over the hidden size, the same for all layers:
///
///     writes the stream   embedding E: E Q      o, down W: Qᵀ W, their biases b: b Q
///     reads the stream    q, k, v, gate, up W: W Q      head: head Q
///
/// Nothing is computed at run time: x Q (W Q)ᵀ = x Wᵀ. Norms commute with Q only without gains (``NormFolding``). What
/// is gained: channels with outliers spread over all of them.
public struct ResidualRotation: Sendable {
  /// D
  public let hiddenSize: Int
  /// Of the signs s; nil for none.
  public let signSeed: UInt64?
  private let rotation: HadamardRotation

  /// Refuses hidden sizes without a Hadamard matrix.
  public init(hiddenSize: Int, signSeed: UInt64?) throws(CalibrationError) {
    self.hiddenSize = hiddenSize
    self.signSeed = signSeed
    rotation = try HadamardRotation(hiddenSize, of: "hidden_size", seed: signSeed, stream: "residual")
  }

  /// E Q, (V, D)
  public func rotate(embedding: inout Tensor) { rotation.rotateRows(&embedding) }

  /// - Parameter index: of the layer, for the message where its norms are not folded.
  public func rotate(_ layer: LayerParameters, index: Int) throws(CalibrationError) {
    try requireOne(layer.inputNorm, "model.layers.\(index).input_layernorm")
    try requireOne(layer.postAttentionNorm, "model.layers.\(index).post_attention_layernorm")
    rotation.rotateRows(&layer.queryKeyValue)
    rotation.rotateRows(&layer.gateUp)
    rotation.rotateColumns(&layer.output)
    rotation.rotateColumns(&layer.down)
    rotation.rotateRows(&layer.outputBias)
    rotation.rotateRows(&layer.downBias)
  }

  /// head Q, (V, D); the head is not tied.
  public func rotate(head: inout Tensor, finalNorm: borrowing Tensor) throws(CalibrationError) {
    try requireOne(finalNorm, "model.norm")
    rotation.rotateRows(&head)
  }

  private func requireOne(_ gain: borrowing Tensor, _ name: String) throws(CalibrationError) {
    guard gain.isOne else {
      throw CalibrationError(
        name, "its gain is not folded, so a rotation would change the model", hint: "Fold norms first.")
    }
  }
}
