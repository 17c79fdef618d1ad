import Checkpoints
import Foundation
import Tensors
import Testing
import TestSupport
import Transformer

/// Logits, loss and every gradient of one batch, against transformers and autograd in float64.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)"))
struct GoldenGradientTests {
  @Test(arguments: [
    ("stories260K", "models/stories260K/hf"), ("tiny-qwen3", "golden/models/tiny-qwen3"),
    ("tiny-qwen2", "golden/models/tiny-qwen2"), ("tiny-llama3rope", "golden/models/tiny-llama3rope"),
  ])
  func gradients(name: String, folder: String) throws {
    let golden = try SafeTensorsFile(SharedData.url("golden/gradients/\(name).safetensors").path)
    let ids = try golden.readIntegers("input_ids"), arena = Arena("test")
    let source = try HuggingFaceFolder(SharedData.url(folder).path), c = source.configuration
    let parameters = Parameters(c, in: arena), gradients = Parameters(c, in: arena)
    try source.load(into: parameters)
    let space = try Workspace(c, sequences: 2, length: 48, purpose: .training, in: arena)
    space.fill(ids, targets: nextTokens(ids, length: 48))

    // One chunk holds all logits, and a loss without gradients leaves them as they are.
    try #require(space.logits.rows == space.tokens)
    DecoderModel.loss(parameters, space)
    let logitError = zip(space.logits.floats(), try golden.read("logits")).map { abs($0 - $1) }.max()!
    #expect(logitError <= 1e-4)

    gradients.poison()
    DecoderModel.lossAndGradients(parameters, gradients, space, scale: 1 / 94)
    let loss = space.lossSum / 94, expectedLoss = Double(try golden.read("loss")[0])
    #expect(abs(loss - expectedLoss) <= 1e-5)

    var worst = (error: -1.0, name: "")
    for (unit, spec) in gradients.layout.all {
      let error = relativeDistance(gradients.values(unit, spec), try golden.read("grad." + spec.name))
      if !(error <= worst.error) { worst = (error, spec.name) }
    }
    #expect(worst.error <= 2e-5, "the worst gradient is that of \(worst.name)")
    figure("\(name): logits \(logitError), loss \(abs(loss - expectedLoss)), worst gradient \(worst)")
  }

  /// Logits of the larger models at every fourth position.
  @Test(arguments: ["novels-llama-11m", "novels-qwen3-29m"])
  func logits(name: String) throws {
    let golden = try SafeTensorsFile(SharedData.url("golden/evaluate/logits_\(name).safetensors").path)
    let ids = try golden.readIntegers("input_ids"), positions = try golden.readIntegers("positions")
    let expected = try golden.read("logits")
    let source = try HuggingFaceFolder(SharedData.url("models/" + name).path), c = source.configuration
    let arena = Arena("test"), parameters = Parameters(c, in: arena)
    try source.load(into: parameters)
    let space = try Workspace(c, sequences: 1, length: ids.count, purpose: .inference, in: arena)
    space.fill(ids, targets: nextTokens(ids, length: ids.count))
    try #require(space.logits.rows == space.tokens)
    DecoderModel.loss(parameters, space)
    let V = c.vocabularySize, logits = space.logits.floats()
    var worst: Float = 0
    for (row, position) in positions.enumerated() {
      for v in 0..<V {
        let error = abs(logits[Int(position) * V + v] - expected[row * V + v])
        if !(error <= worst) { worst = error }
      }
    }
    #expect(worst <= 2e-4)
    figure("\(name): worst logit \(worst)")
  }
}
