import Kernels
import Quantization
import Tensors

/// One pre-norm decoder layer.
///
///   n = norm(x)          q, k, v = n Wqkvᵀ (+ b)     rotate q, k     a = attention(q, k, v)
///   m = x + a Woᵀ        n' = norm(m)                g, u = n' Wguᵀ   y = m + (silu(g) · u) Wdᵀ
///
/// A reparameterised model has weights W R and multiplies them with n R, a R, n' R, (silu(g) · u) R; it may rotate
/// queries and keys, which changes no product of the two. A rotation comes before the rounding to an activation format.
///
/// The visitor is polled after every matrix product and every attention.
enum DecoderLayer {
  /// - Parameter output: nil where a layer is run again for its activations alone, which need no y.
  static func forward<Visitor: UnitVisitor>(
    _ stages: LayerStages, input: Residual, output: Residual?, visiting visitor: Visitor
  ) throws(Visitor.Failure) {
    stages.attentionInput(input)
    stages.project()
    try visitor.poll()
    stages.attend()
    try visitor.poll()
    stages.addAttention(input)
    try visitor.poll()
    stages.gateUpInput()
    stages.expand()
    try visitor.poll()
    stages.gate()
    guard let output else { return }
    stages.addFeedForward(output)
    try visitor.poll()
  }

  /// On entry `g.residual` holds dy, on return dx. Every tensor of `dw` is overwritten.
  ///
  /// Rounded activations pass their gradient straight through.
  static func backward<Visitor: UnitVisitor>(
    _ stages: LayerStages, _ dw: LayerParameters, input: Residual, _ g: GradientScratch, visiting visitor: Visitor
  ) throws(Visitor.Failure) {
    let (w, linear, a) = (stages.w, stages.linear, stages.a)
    // y = m + gated Wdᵀ
    linear.down.backwardInput(&g.gated, from: g.residual, weight: w.down)
    stages.rotateBack(&g.gated, .down)
    try visitor.poll()
    linear.down.backwardWeight(&dw.down, from: g.residual, input: a.gated)
    try visitor.poll()
    if w.downBias.count > 0 { Linear.backwardBias(&dw.downBias, from: g.residual) }
    // gated = silu(gate) · up;  gate, up = n' Wguᵀ
    SwiGLU.backward(&g.gateUp, from: g.gated, input: a.gateUp)
    linear.gateUp.backwardInput(&g.hidden, from: g.gateUp, weight: w.gateUp)
    stages.rotateBack(&g.hidden, .gateUp)
    try visitor.poll()
    linear.gateUp.backwardWeight(&dw.gateUp, from: g.gateUp, input: a.middleNormed)
    try visitor.poll()
    if w.gateUpBias.count > 0 { Linear.backwardBias(&dw.gateUpBias, from: g.gateUp) }
    // n' = norm(m): the residual's own gradient is in place already
    dw.postAttentionNorm.fillWithZeros()
    RMSNorm.backward(
      dx: &g.residual, dGain: &dw.postAttentionNorm, from: g.hidden, input: a.middle, gain: w.postAttentionNorm,
      rstd: a.middleRstd)

    // m = x + a Woᵀ
    linear.output.backwardInput(&g.attended, from: g.residual, weight: w.output)
    stages.rotateBack(&g.attended, .output)
    try visitor.poll()
    linear.output.backwardWeight(&dw.output, from: g.residual, input: a.outputInput)
    try visitor.poll()
    if w.outputBias.count > 0 { Linear.backwardBias(&dw.outputBias, from: g.residual) }
    attendBackward(stages, dw, g)
    try visitor.poll()
    // q, k, v = n Wqkvᵀ + b
    linear.queryKeyValue.backwardInput(&g.hidden, from: g.queryKeyValue, weight: w.queryKeyValue)
    stages.rotateBack(&g.hidden, .queryKeyValue)
    try visitor.poll()
    linear.queryKeyValue.backwardWeight(&dw.queryKeyValue, from: g.queryKeyValue, input: a.normed)
    try visitor.poll()
    if w.queryKeyValueBias.count > 0 { Linear.backwardBias(&dw.queryKeyValueBias, from: g.queryKeyValue) }
    // n = norm(x)
    dw.inputNorm.fillWithZeros()
    RMSNorm.backward(
      dx: &g.residual, dGain: &dw.inputNorm, from: g.hidden, input: input.x, gain: w.inputNorm, rstd: a.rstd)
  }

  private static func attendBackward(
    _ stages: LayerStages, _ dw: LayerParameters, _ g: GradientScratch
  ) {
    let (w, a, c, space) = (stages.w, stages.a, stages.c, stages.space)
    let columns = stages.columns
    if c.queryKeyNorm {
      space.attention.backward(
        dQueryKey: &g.queryKey, dColumns: columns, dValues: &g.queryKeyValue, from: g.attended, y: a.attended,
        lse: a.lse, queryKey: a.queryKey, values: a.queryKeyValue, columns: columns, delta: &g.delta,
        scratch: &space.tile)
      stages.turnBack(&g.queryKey)
      g.queryKeyValue.fillColumnsWithZeros(0..<c.queryWidth + c.keyWidth)
      dw.queryNorm.fillWithZeros()
      dw.keyNorm.fillWithZeros()
      RMSNorm.backwardPerHead(
        dx: &g.queryKeyValue, fromColumn: 0, dGain: &dw.queryNorm, from: g.queryKey, toColumn: 0,
        input: a.queryKeyValue, heads: c.queryHeads, gain: w.queryNorm, rstd: a.headRstd, rstdRow: 0)
      RMSNorm.backwardPerHead(
        dx: &g.queryKeyValue, fromColumn: c.queryWidth, dGain: &dw.keyNorm, from: g.queryKey, toColumn: c.queryWidth,
        input: a.queryKeyValue, heads: c.keyHeads, gain: w.keyNorm, rstd: a.headRstd, rstdRow: c.queryHeads)
    } else {
      space.attention.backward(
        &g.queryKeyValue, columns: columns, from: g.attended, y: a.attended, lse: a.lse,
        queryKeyValue: a.queryKeyValue, delta: &g.delta, scratch: &space.tile)
      stages.turnBack(&g.queryKeyValue)
    }
  }
}
