import Formats
import Kernels
import Tensors

/// One pre-norm decoder layer.
///
///   n = norm(x)          q, k, v = n Wqkvᵀ (+ b)     rotate q, k     a = attention(q, k, v)
///   m = x + a Woᵀ        n' = norm(m)                g, u = n' Wguᵀ   y = m + (silu(g) · u) Wdᵀ
///
/// The visitor is polled after every matrix product and every attention.
enum DecoderLayer {
  /// - Parameter output: nil where a layer is run again for its activations alone, which need no y.
  static func forward<Visitor: UnitVisitor>(
    _ w: LayerParameters, _ linear: LinearOperators.Layer, _ a: LayerActivations, input: Residual, output: Residual?,
    _ c: ModelConfiguration, _ space: Workspace, visiting visitor: Visitor
  ) throws(Visitor.Failure) {
    RMSNorm.forward(&a.normed, rstd: &a.rstd, of: input.x, gain: w.inputNorm, epsilon: c.normEpsilon)
    round(&a.normed, to: space.activationFormat)
    linear.queryKeyValue.forward(&a.queryKeyValue, of: a.normed, weight: w.queryKeyValue)
    try visitor.poll()
    if w.queryKeyValueBias.count > 0 { Linear.addBias(&a.queryKeyValue, bias: w.queryKeyValueBias) }
    attend(w, a, c, space)
    try visitor.poll()

    a.middle.copy(from: input.x)
    if space.activationFormat == nil {
      linear.output.forward(&a.middle, of: a.attended, weight: w.output, output: .accumulate)
    } else {
      a.attendedRounded.copy(from: a.attended)
      round(&a.attendedRounded, to: space.activationFormat)
      linear.output.forward(&a.middle, of: a.attendedRounded, weight: w.output, output: .accumulate)
    }
    try visitor.poll()
    if w.outputBias.count > 0 { Linear.addBias(&a.middle, bias: w.outputBias) }

    RMSNorm.forward(&a.middleNormed, rstd: &a.middleRstd, of: a.middle, gain: w.postAttentionNorm, epsilon: c.normEpsilon)
    round(&a.middleNormed, to: space.activationFormat)
    linear.gateUp.forward(&a.gateUp, of: a.middleNormed, weight: w.gateUp)
    try visitor.poll()
    if w.gateUpBias.count > 0 { Linear.addBias(&a.gateUp, bias: w.gateUpBias) }
    SwiGLU.forward(&a.gated, of: a.gateUp)
    round(&a.gated, to: space.activationFormat)

    guard let output else { return }
    output.x.copy(from: a.middle)
    linear.down.forward(&output.x, of: a.gated, weight: w.down, output: .accumulate)
    try visitor.poll()
    if w.downBias.count > 0 { Linear.addBias(&output.x, bias: w.downBias) }
  }

  /// On entry `g.residual` holds dy, on return dx. Every tensor of `dw` is overwritten.
  ///
  /// Rounded activations pass their gradient straight through.
  static func backward<Visitor: UnitVisitor>(
    _ w: LayerParameters, _ dw: LayerParameters, _ linear: LinearOperators.Layer, _ a: LayerActivations, input: Residual,
    _ g: GradientScratch, _ c: ModelConfiguration, _ space: Workspace, visiting visitor: Visitor
  ) throws(Visitor.Failure) {
    // y = m + gated Wdᵀ
    linear.down.backwardInput(&g.gated, from: g.residual, weight: w.down)
    try visitor.poll()
    linear.down.backwardWeight(&dw.down, from: g.residual, input: a.gated)
    try visitor.poll()
    if w.downBias.count > 0 { Linear.backwardBias(&dw.downBias, from: g.residual) }
    // gated = silu(gate) · up;  gate, up = n' Wguᵀ
    SwiGLU.backward(&g.gateUp, from: g.gated, input: a.gateUp)
    linear.gateUp.backwardInput(&g.hidden, from: g.gateUp, weight: w.gateUp)
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
    try visitor.poll()
    if space.activationFormat == nil {
      linear.output.backwardWeight(&dw.output, from: g.residual, input: a.attended)
    } else {
      linear.output.backwardWeight(&dw.output, from: g.residual, input: a.attendedRounded)
    }
    try visitor.poll()
    if w.outputBias.count > 0 { Linear.backwardBias(&dw.outputBias, from: g.residual) }
    attendBackward(w, dw, a, g, c, space)
    try visitor.poll()
    // q, k, v = n Wqkvᵀ + b
    linear.queryKeyValue.backwardInput(&g.hidden, from: g.queryKeyValue, weight: w.queryKeyValue)
    try visitor.poll()
    linear.queryKeyValue.backwardWeight(&dw.queryKeyValue, from: g.queryKeyValue, input: a.normed)
    try visitor.poll()
    if w.queryKeyValueBias.count > 0 { Linear.backwardBias(&dw.queryKeyValueBias, from: g.queryKeyValue) }
    // n = norm(x)
    dw.inputNorm.fillWithZeros()
    RMSNorm.backward(
      dx: &g.residual, dGain: &dw.inputNorm, from: g.hidden, input: input.x, gain: w.inputNorm, rstd: a.rstd)
  }

  // Queries and keys: (norm,) rotate; then attention.
  private static func attend(_ w: LayerParameters, _ a: LayerActivations, _ c: ModelConfiguration, _ space: Workspace) {
    let columns = Attention.Columns(query: 0, key: c.queryWidth, value: c.queryWidth + c.keyWidth)
    if c.queryKeyNorm {
      RMSNorm.forwardPerHead(
        &a.queryKey, toColumn: 0, rstd: &a.headRstd, rstdRow: 0, of: a.queryKeyValue, fromColumn: 0,
        heads: c.queryHeads, gain: w.queryNorm, epsilon: c.normEpsilon)
      RMSNorm.forwardPerHead(
        &a.queryKey, toColumn: c.queryWidth, rstd: &a.headRstd, rstdRow: c.queryHeads, of: a.queryKeyValue,
        fromColumn: c.queryWidth, heads: c.keyHeads, gain: w.keyNorm, epsilon: c.normEpsilon)
      rotate(&a.queryKey, c, space, .forward)
      space.attention.forward(
        &a.attended, lse: &a.lse, queryKey: a.queryKey, values: a.queryKeyValue, columns: columns, scratch: &space.tile)
    } else {
      rotate(&a.queryKeyValue, c, space, .forward)
      space.attention.forward(
        &a.attended, lse: &a.lse, queryKey: a.queryKeyValue, values: a.queryKeyValue, columns: columns,
        scratch: &space.tile)
    }
  }

  private static func attendBackward(
    _ w: LayerParameters, _ dw: LayerParameters, _ a: LayerActivations, _ g: GradientScratch, _ c: ModelConfiguration,
    _ space: Workspace
  ) {
    let columns = Attention.Columns(query: 0, key: c.queryWidth, value: c.queryWidth + c.keyWidth)
    if c.queryKeyNorm {
      space.attention.backward(
        dQueryKey: &g.queryKey, dColumns: columns, dValues: &g.queryKeyValue, from: g.attended, y: a.attended,
        lse: a.lse, queryKey: a.queryKey, values: a.queryKeyValue, columns: columns, delta: &g.delta,
        scratch: &space.tile)
      rotate(&g.queryKey, c, space, .backward)
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
      rotate(&g.queryKeyValue, c, space, .backward)
    }
  }

  private static func rotate(
    _ x: inout Tensor, _ c: ModelConfiguration, _ space: Workspace, _ direction: RotaryEmbedding.Direction
  ) {
    RotaryEmbedding.apply(
      &x, column: 0, heads: c.queryHeads + c.keyHeads, cosines: space.rotary.cosines, sines: space.rotary.sines,
      period: space.length, direction: direction)
  }

  private static func round(_ x: inout Tensor, to format: MXFormat?) {
    if let format { BlockCodec.roundTrip(inPlace: &x, format: format) }
  }
}
