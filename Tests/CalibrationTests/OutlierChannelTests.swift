import Calibration
import Foundation
import Kernels
import Quantization
import Tensors
import TestSupport
import Testing
import Transformer

/// What rotations are for: channels that hold the range of an input stop to.
@Suite struct OutlierChannelTests {
  struct Shape: Sendable {
    let kurtosis: Double
    /// max |x| / rms
    let peak: Double

    init(_ x: [Float]) {
      let count = Double(x.count)
      let second = x.reduce(0) { $0 + pow(Double($1), 2) } / count
      let fourth = x.reduce(0) { $0 + pow(Double($1), 4) } / count
      kurtosis = fourth / (second * second)
      peak = Double(x.map(\.magnitude).max() ?? 0) / second.squareRoot()
    }
  }

  /// The four inputs of every layer.
  static func inputs(_ w: Parameters) throws -> [Shape] {
    let arena = Arena("inputs"), space = try w.workspace(in: arena), pass = LayerPass(w, space)
    var shapes: [Shape] = []
    pass.embed()
    for i in 0..<w.configuration.layerCount {
      pass.attentionInput(layer: i)
      shapes.append(Shape(pass.activations(of: i).normed.floats()))
      pass.attend(layer: i)
      shapes.append(Shape(pass.activations(of: i).outputInput.floats()))
      pass.addAttention(layer: i)
      pass.gateUpInput(layer: i)
      shapes.append(Shape(pass.activations(of: i).middleNormed.floats()))
      pass.gate(layer: i)
      shapes.append(Shape(pass.activations(of: i).gated.floats()))
      pass.addFeedForward(layer: i)
    }
    return shapes
  }

  @Test(arguments: [ReparameterisationModel.llama, .wide])
  func everyInputIsFlatterBehindTheRotations(_ model: ReparameterisationModel) throws {
    let arena = Arena("models"), c = try model.configuration()
    let before = Parameters(c, in: arena)
    before.fillRandomly(seed: 5)
    for column in [3, 50] { before.embedding.scale(column: column, by: 25) }
    for layer in before.layers {
      layer.queryKeyValue.scale(row: c.queryWidth + c.keyWidth + 4, by: 20)
      for row in [9, 70] { layer.gateUp.scale(row: c.feedForwardSize + row, by: 20) }
    }
    let recipe = ReparameterisationRecipe.quaRot(signSeed: 1)
    let fixed = try FixedReparameterisation(recipe, of: c)
    let after = before.copied(as: fixed.target, in: arena)
    let rotations = try OnlineRotations(fixed.target, in: arena)
    fixed.apply(embedding: &after.embedding)
    for (i, layer) in after.layers.enumerated() {
      try fixed.apply(to: layer, index: i)
      rotations.rotateWeights(of: layer, index: i)
    }
    for (place, (plain, rotated)) in zip(try Self.inputs(before), try Self.inputs(after)).enumerated() {
      let name = "\(model.name), layer \(place / 4) \(["qkv", "o", "gate_up", "down"][place % 4])"
      figure("\(name): kurtosis \(plain.kurtosis) -> \(rotated.kurtosis), max/rms \(plain.peak) -> \(rotated.peak)")
      #expect(rotated.kurtosis < plain.kurtosis, "\(name)")
      #expect(rotated.peak < plain.peak, "\(name)")
    }
  }
}
