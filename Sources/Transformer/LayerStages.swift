import Kernels
import Quantization
import Tensors

/// The forward pass of one layer, cut where the inputs of its linear layers stand complete: `DecoderLayer.forward` runs
/// the stages in order, and calibration runs them one by one while it replaces weights between them.
///
/// Nothing is held but names: making one costs nothing, and each stage reads the weights as they are when it runs.
struct LayerStages {
  let layer: Int
  let w: LayerParameters
  let linear: LinearOperators.Layer
  let a: LayerActivations
  let c: ModelConfiguration
  let space: Workspace

  init(_ parameters: Parameters, _ space: Workspace, layer: Int) {
    self.layer = layer
    w = parameters.layers[layer]
    linear = space.linear.layers[layer]
    a = space.layers[layer]
    c = parameters.configuration
    self.space = space
  }

  /// Queries, keys, values as they stand side by side.
  var columns: Attention.Columns {
    Attention.Columns(query: 0, key: c.queryWidth, value: c.queryWidth + c.keyWidth)
  }

  /// n = norm(x): the input of q, k and v.
  func attentionInput(_ input: Residual) {
    RMSNorm.forward(&a.normed, rstd: &a.rstd, of: input.x, gain: w.inputNorm, epsilon: c.normEpsilon)
    prepare(&a.normed, .queryKeyValue)
  }

  /// q, k, v = n Wqkvᵀ (+ b)
  func project() {
    linear.queryKeyValue.forward(&a.queryKeyValue, of: a.normed, weight: w.queryKeyValue)
    if w.queryKeyValueBias.count > 0 { Linear.addBias(&a.queryKeyValue, bias: w.queryKeyValueBias) }
  }

  /// Queries and keys: (norm,) rotate; then attention, and the input of o.
  func attend() {
    if c.queryKeyNorm {
      RMSNorm.forwardPerHead(
        &a.queryKey, toColumn: 0, rstd: &a.headRstd, rstdRow: 0, of: a.queryKeyValue, fromColumn: 0,
        heads: c.queryHeads, gain: w.queryNorm, epsilon: c.normEpsilon)
      RMSNorm.forwardPerHead(
        &a.queryKey, toColumn: c.queryWidth, rstd: &a.headRstd, rstdRow: c.queryHeads, of: a.queryKeyValue,
        fromColumn: c.queryWidth, heads: c.keyHeads, gain: w.keyNorm, epsilon: c.normEpsilon)
      turn(&a.queryKey)
      space.attention.forward(
        &a.attended, lse: &a.lse, queryKey: a.queryKey, values: a.queryKeyValue, columns: columns, scratch: &space.tile)
    } else {
      turn(&a.queryKeyValue)
      space.attention.forward(
        &a.attended, lse: &a.lse, queryKey: a.queryKeyValue, values: a.queryKeyValue, columns: columns,
        scratch: &space.tile)
    }
    guard a.hasOutputInput else { return }
    a.outputInput.copy(from: a.attended)
    prepare(&a.outputInput, .output)
  }

  /// m = x + a Woᵀ (+ b)
  func addAttention(_ input: Residual) {
    a.middle.copy(from: input.x)
    linear.output.forward(&a.middle, of: a.outputInput, weight: w.output, output: .accumulate)
    if w.outputBias.count > 0 { Linear.addBias(&a.middle, bias: w.outputBias) }
  }

  /// n' = norm(m): the input of gate and up.
  func gateUpInput() {
    RMSNorm.forward(&a.middleNormed, rstd: &a.middleRstd, of: a.middle, gain: w.postAttentionNorm, epsilon: c.normEpsilon)
    prepare(&a.middleNormed, .gateUp)
  }

  /// g, u = n' Wguᵀ (+ b)
  func expand() {
    linear.gateUp.forward(&a.gateUp, of: a.middleNormed, weight: w.gateUp)
    if w.gateUpBias.count > 0 { Linear.addBias(&a.gateUp, bias: w.gateUpBias) }
  }

  /// silu(g) · u: the input of down.
  func gate() {
    SwiGLU.forward(&a.gated, of: a.gateUp)
    prepare(&a.gated, .down)
  }

  /// y = m + (silu(g) · u) Wdᵀ (+ b)
  func addFeedForward(_ output: Residual) {
    output.x.copy(from: a.middle)
    linear.down.forward(&output.x, of: a.gated, weight: w.down, output: .accumulate)
    if w.downBias.count > 0 { Linear.addBias(&output.x, bias: w.downBias) }
  }

  // MARK: Rotations

  /// What a linear layer multiplies: rotated where the model is, then rounded.
  private func prepare(_ x: inout Tensor, _ site: OnlineTransforms.Site) {
    space.rotations.apply(to: &x, layer: layer, site: site)
    if let format = space.activationFormat { BlockCodec.roundTrip(inPlace: &x, format: format) }
  }

  /// The gradient of what was rotated at `site`. Rounding passes gradients straight through.
  func rotateBack(_ dx: inout Tensor, _ site: OnlineTransforms.Site) {
    space.rotations.apply(to: &dx, layer: layer, site: site, inverse: true)
  }

  /// Rotary embedding of queries and keys, then their rotation.
  private func turn(_ x: inout Tensor) {
    rotaryEmbedding(&x, .forward)
    space.rotations.apply(to: &x, layer: layer, site: .queryKey)
  }

  /// The gradient of both.
  func turnBack(_ dx: inout Tensor) {
    space.rotations.apply(to: &dx, layer: layer, site: .queryKey, inverse: true)
    rotaryEmbedding(&dx, .backward)
  }

  private func rotaryEmbedding(_ x: inout Tensor, _ direction: RotaryEmbedding.Direction) {
    RotaryEmbedding.apply(
      &x, column: 0, heads: c.queryHeads + c.keyHeads, cosines: space.rotary.cosines, sines: space.rotary.sines,
      period: space.length, direction: direction)
  }
}
