import Kernels
import Quantization
import Tensors
import Transformer

/// Where the input of a linear layer is, and for o and down the residual that their output is added to.
final class LayerInput {
  let x: Tensor  // (T, K)
  let residual: Tensor  // (T, D), or empty

  init(_ x: borrowing Tensor, _ residual: borrowing Tensor) {
    self.x = x.rows(0..<x.rows)
    self.residual = residual.rows(0..<residual.rows)
  }

  init(_ x: borrowing Tensor) {
    self.x = x.rows(0..<x.rows)
    residual = x.rows(0..<0)
  }
}

/// One layer before it was scaled, rotated online or rounded, run on the full-precision residual stream: what outputs should
/// be. It needs nothing that a calibration finds out, so that an interrupted one brings it about again to the bit.
final class OriginalLayer {
  private let layer: Int
  private let pass: LayerPass
  /// The full-precision residual stream; in attention's place it keeps the residual after attention.
  private let stream: ResidualStream
  private let arena = Arena("output errors")
  private var outputs: [OnlineTransforms.Site: TensorBox] = [:]
  private var errors: [OnlineTransforms.Site: TensorBox] = [:]

  init(layer: Int, pass: LayerPass, stream: ResidualStream) {
    self.layer = layer
    self.pass = pass
    self.stream = stream
  }

  /// e = (r + W x) - (r̂ + Ŵ x̂) of a sequence, (T, N), without the residual for q, k, v, gate and up: valid until the next
  /// call.
  ///
  /// - Parameters:
  ///   - input: x̂ and r̂ of the rounded model.
  ///   - weight: Ŵ, which is W in the coordinates of x̂, not rounded yet.
  func error(_ site: OnlineTransforms.Site, _ index: Int, of input: LayerInput, weight: borrowing Tensor) -> Tensor {
    let own = run(site, index)
    let e = box(&errors, site, rows: input.x.rows, columns: weight.rows)
    let other = box(&outputs, site, rows: input.x.rows, columns: weight.rows)
    Linear.forward(&e.values, of: own.x, weight: pass.parameters.layers[layer].weight(of: site))
    Linear.forward(&other.values, of: input.x, weight: weight)
    e.values.subtract(other.values)
    if input.residual.rows > 0 {
      e.values.accumulate(own.residual)
      e.values.subtract(input.residual)
    }
    return e.values.rows(0..<e.values.rows)
  }

  private func box(
    _ boxes: inout [OnlineTransforms.Site: TensorBox], _ site: OnlineTransforms.Site, rows: Int, columns: Int
  ) -> TensorBox {
    if let box = boxes[site] { return box }
    let box = TensorBox(rows: rows, columns: columns, in: arena)
    boxes[site] = box
    return box
  }

  /// The layer up to the input of `site`.
  private func run(_ site: OnlineTransforms.Site, _ index: Int) -> LayerInput {
    let a = pass.activations(of: layer)
    switch site {
    case .queryKeyValue, .output:
      stream.loadResidual(index, into: &pass.residual(of: layer).x)
      pass.attentionInput(layer: layer)
      guard site == .output else { return LayerInput(a.normed) }
      pass.attend(layer: layer)
      return LayerInput(a.outputInput, pass.residual(of: layer).x)
    case .gateUp, .down:
      stream.loadMiddle(index, into: &a.middle)
      pass.gateUpInput(layer: layer)
      guard site == .down else { return LayerInput(a.middleNormed) }
      pass.gate(layer: layer)
      return LayerInput(a.gated, a.middle)
    case .queryKey: preconditionFailure("queries and keys are no input of a weight")
    }
  }

  /// Runs attention once more, for the residual after it.
  func keepMiddle(_ index: Int) {
    _ = run(.output, index)
    pass.addAttention(layer: layer)
    stream.storeMiddle(index, pass.activations(of: layer).middle)
  }

  /// The residual of the next layer.
  func finish(_ index: Int) {
    _ = run(.down, index)
    pass.addFeedForward(layer: layer)
    stream.storeResidual(index, pass.residual(of: layer + 1).x)
  }
}
