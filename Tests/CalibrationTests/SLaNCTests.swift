import Calibration
import Checkpoints
import Foundation
import Tensors
import TestSupport
import Testing
import Transformer

@Suite struct SLaNCTests {
  static func exact(_ x: [Float], gain: [Float], epsilon: Double) -> [Double] {
    let mean = x.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(x.count)
    return zip(x, gain).map { Double($0) / (mean + epsilon).squareRoot() * Double($1) }
  }

  @Test func aScaledNormStaysFiniteInHalfPrecision() {
    let d = 1024, draws = Draws(1, "x")
    var x = (0..<d).map { Float(draws.normal($0)) }
    x[100] = 2000
    let gain = (0..<d).map { Float(1 + 0.1 * draws.normal(d + $0)) }
    let exact = Self.exact(x, gain: gain, epsilon: 1e-5)
    // Plain: 2000² is beyond FP16; the sum is infinite and the output 0.
    #expect(HalfNorm.forward(x, gain: gain, epsilon: 1e-5).allSatisfy { $0 == 0 })
    for scale in [1000.0, 517.3] {
      let scaled = HalfNorm.forward(x, gain: gain, epsilon: 1e-5, scale: scale)
      let distance = relativeError(scaled, exact.map { Float($0) }).squareRoot()
      figure("FP16 norm scaled by \(scale): relative distance \(distance)")
      #expect(scaled.allSatisfy { $0.isFinite } && distance < 1e-3)
    }
    // Where nothing overflows both are the norm; ε counts.
    let small = (0..<d).map { Float(0.01 * draws.normal($0)) }
    for scale in [1.0, 8] {
      let y = HalfNorm.forward(small, gain: gain, epsilon: 1e-4, scale: scale)
      #expect(relativeError(y, Self.exact(small, gain: gain, epsilon: 1e-4).map { Float($0) }).squareRoot() < 0.02)
    }
  }

  /// The constants from their definition, matrix by matrix, in Double.
  @Test(arguments: ReparameterisationModel.all)
  func constantsAreTheirFormulas(_ model: ReparameterisationModel) throws {
    let arena = Arena("SLaNC"), c = try model.configuration(), w = Parameters(c, in: arena)
    w.fillRandomly(seed: 8)
    let layer = w.layers[1], D = c.hiddenSize, F = c.feedForwardSize, d = c.headDimension, H = c.queryWidth
    let constants = SLaNC.Layer(layer, c)
    let qkv = layer.queryKeyValue.floats().map(Double.init), o = layer.output.floats().map(Double.init)
    let gate = layer.gateUp.floats().map(Double.init), down = layer.down.floats().map(Double.init)
    let norm = layer.inputNorm.floats().map(Double.init), after = layer.postAttentionNorm.floats().map(Double.init)
    // Query head h reads key head h / group.
    func value(_ column: Int, _ j: Int) -> Double {
      let head = column / d / (c.queryHeads / c.keyHeads)
      return qkv[(c.queryWidth + c.keyWidth + head * d + column % d) * D + j]
    }
    var attention = 0.0, growth = 0.0
    for i in 0..<D {
      for j in 0..<D {
        let a = (0..<H).reduce(i == j ? 1 : 0) { $0 + o[i * H + $1] * value($1, j) } * norm[j]
        let b = (0..<F).reduce(0) { $0 + down[i * F + $1] * gate[(F + $1) * D + j] } * after[j]
        attention += a * a
        growth += b * b
      }
    }
    var v = (0..<D).map { Draws(3, "v").normal($0) }, spectral = 0.0
    for _ in 0..<300 {
      let image = (0..<F).map { i in (0..<D).reduce(0.0) { $0 + gate[i * D + $1] * after[$1] * v[$1] } }
      let next = (0..<D).map { j in (0..<F).reduce(0.0) { $0 + gate[$1 * D + j] * image[$1] } * after[j] }
      let length = next.reduce(0) { $0 + $1 * $1 }.squareRoot()
      spectral = length.squareRoot()
      v = next.map { $0 / length }
    }
    #expect(abs(constants.postAttention / attention.squareRoot() - 1) < 1e-5)
    #expect(abs(constants.postFeedForward / (growth.squareRoot() * spectral) - 1) < 1e-3)
  }

  @Test func constantsGoToTheNormThatFollows() throws {
    let constants = SLaNC([.init(postAttention: 2, postFeedForward: 3), .init(postAttention: 5, postFeedForward: 7)])
    #expect(constants.inputNorms == [1, 3] && constants.postAttentionNorms == [2, 5] && constants.finalNorm == 7)
    #expect(constants.json["input_layernorm"]?.array?.count == 2 && constants.json["norm"]?.double == 7)
  }
}
