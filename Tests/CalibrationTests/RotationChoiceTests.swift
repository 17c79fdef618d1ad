import Calibration
import Checkpoints
import Formats
import Kernels
import Quantization
import Tensors
import TestSupport
import Testing
import Transformer

@Suite struct RotationChoiceTests {
  /// Layers whose inputs need a rotation, and one whose blocks are even already.
  static func inputs(layer: Int, sequence: Int, _ c: ModelConfiguration, in arena: Arena) -> Tensor {
    let K = c.feedForwardSize, draws = Draws(UInt64(100 * layer + sequence), "inputs")
    var x = Tensor(rows: 24, columns: K, in: arena)
    switch layer {
    case 0: x.fill { draws.normal($0) * ($0 % K % 37 == 5 ? 20 : 1) }  // outlier channels
    case 1: x.fill { draws.uniform($0) < 0.5 ? -1.75 : 1.75 }  // every element is a code
    default: x.fill { draws.laplace($0) }
    }
    return x
  }

  @Test(arguments: [OnlineRecipe.quaRot(queryKey: false), .blocks(32)])
  func theAdaptiveChoiceIsAtMostAllOrNone(_ recipe: OnlineRecipe) throws {
    let arena = Arena("choice")
    var c = try ReparameterisationModel.wide.configuration()
    c.layerCount = 3
    let rotations = try OnlineRotations(recipe.transforms(for: c, signSeed: 6).transforms, for: c, in: arena)
    var none = 0.0, all = 0.0, adaptive = 0.0
    var choices: [RotationChoice] = []
    for layer in 0..<3 {
      var weight = Tensor(rows: c.hiddenSize, columns: c.feedForwardSize, in: arena)
      let draws = Draws(UInt64(layer), "weights")
      weight.fill { layer == 1 ? (draws.uniform($0) < 0.5 ? -1 : 1) : draws.student($0, degrees: 5) / 16 }
      let weightErrors = RotationChoice.errors(
        of: weight, format: .mxint4, rotations: rotations, layer: layer, site: .down)
      let activations = (0..<3).map { sequence in
        RotationChoice.errors(
          of: Self.inputs(layer: layer, sequence: sequence, c, in: arena), format: .mxint4, rotations: rotations,
          layer: layer, site: .down)
      }
      let choice = RotationChoice.decide(weights: [weightErrors], activations: activations)
      // From the definition.
      var errors = RotationChoice.Errors(plain: 0, rotated: 0)
      for part in 0...3 {
        var x = part == 0 ? weight.rows(0..<weight.rows) : Self.inputs(layer: layer, sequence: part - 1, c, in: arena)
        let n = part == 0 ? 1.0 : 3.0
        func error(_ x: borrowing Tensor) -> Double {
          let exact = x.floats(), packed = ScalarCodec.quantize(row: exact, as: .mxint4)
          return zip(ScalarCodec.dequantize(packed, from: .mxint4), exact).reduce(0) {
            $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1))
          }
        }
        errors.plain += error(x) / n
        rotations.apply(to: &x, layer: layer, site: .down)
        errors.rotated += error(x) / n
      }
      #expect(abs(choice.errors.plain - errors.plain) <= 1e-9 * errors.plain)
      #expect(abs(choice.errors.rotated - errors.rotated) <= 1e-9 * errors.rotated)
      #expect(choice.chosen <= choice.errors.plain && choice.chosen <= choice.errors.rotated)
      #expect(choice.rotates == (errors.rotated < errors.plain))
      #expect(choice.json["plain"]?.double == choice.errors.plain)
      #expect(choice.json["rotated"]?.double == choice.errors.rotated)
      choices.append(choice)
      none += choice.errors.plain
      all += choice.errors.rotated
      adaptive += choice.chosen
    }
    figure("RoSTE \(recipe): none \(none), all \(all), adaptive \(adaptive), rotates \(choices.map(\.rotates))")
    #expect(choices[0].rotates && !choices[1].rotates, "outliers are rotated, even blocks are not")
    #expect(adaptive <= min(none, all))
  }

  @Test func equalErrorsDoNotRotate() {
    let same = RotationChoice.Errors(plain: 1, rotated: 1)
    #expect(!RotationChoice.decide(weights: [same], activations: []).rotates)
    let arena = Arena("choice")
    var x = Tensor(rows: 2, columns: 64, in: arena)
    x.fill(Draws(1, "x").normal)
    #expect(RotationChoice.errors(of: x, format: nil) { _ in } == RotationChoice.Errors(plain: 0, rotated: 0))
  }
}
