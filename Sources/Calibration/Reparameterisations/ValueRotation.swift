import Tensors
public import Transformer

/// One rotation of the values, head by head, written into v and o (R2 of QuaRot, arXiv 2404.00456, stage 1c).
///
/// R = diag(s) · H_d / sqrt(d) over the head dimension, the same in every head, so that query heads may share a key
/// head:
///
///     v of head g: Rᵀ W_v[g], its bias b R        o: W_o · blockdiag(R, ..., R), one block a query head
///
/// Attention mixes tokens, not places in a head: its output comes out rotated by R, which o undoes. With an online
/// rotation across the heads at o's input the two are one rotation of the whole width.
public struct ValueRotation: Sendable {
  /// d
  public let headDimension: Int
  public let signSeed: UInt64?
  private let rotation: HadamardRotation

  /// Refuses head dimensions without a Hadamard matrix.
  public init(headDimension: Int, signSeed: UInt64?) throws(CalibrationError) {
    self.headDimension = headDimension
    self.signSeed = signSeed
    rotation = try HadamardRotation(headDimension, of: "head_dim", seed: signSeed, stream: "values")
  }

  /// To be done before o's weight takes an online rotation.
  public func rotate(_ layer: LayerParameters, _ c: ModelConfiguration) {
    precondition(c.headDimension == headDimension, "a rotation of \(headDimension) for heads of \(c.headDimension)")
    let first = c.queryWidth + c.keyWidth
    for head in 0..<c.keyHeads {
      var rows = layer.queryKeyValue.rows(first + head * headDimension..<first + (head + 1) * headDimension)
      rotation.rotateColumns(&rows)
    }
    if layer.queryKeyValueBias.count > 0 {
      var bias = layer.queryKeyValueBias.region(first, rows: c.keyHeads, columns: headDimension)
      rotation.rotateRows(&bias)
    }
    rotation.rotateRows(&layer.output)
  }
}
