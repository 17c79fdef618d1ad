import Foundation
import Testing

/// `mfqat train` before its first step.
@Suite struct TrainTests {
  let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    try TinyModel.write(to: scratch("model"))
    try scratch.write(String(repeating: "the quick brown fox jumps over the lazy dog. ", count: 8), to: "text.txt")
    try scratch.write(
      """
      model: {path: \(scratch("model"))}
      data: {train: [\(scratch("text.txt"))], context: 16}
      training: {steps: 2, batch: 2, lanes: 2}
      logging: {directory: \(scratch("run"))}
      """, to: "run.yaml")
  }

  private func train(_ arguments: String...) throws -> CommandLineTool.Result {
    try CommandLineTool.run(["train", "--config", scratch("run.yaml")] + arguments)
  }

  @Test func aDryRunNamesTheProducts() throws {
    let plain = try train("--dry-run")
    #expect(plain.status == 0 && plain.output.contains("\nproducts  ") && plain.errors.isEmpty, "\(plain)")
    let small = try train("--dry-run", "--set", "training.precision={forward: int8, backward: int8}")
    let reason = "gate, up_proj (128 x 32) stays in fp32: fewer bits would give"
    #expect(small.status == 0 && small.output.contains(reason), "\(small)")
    let wish = "training.precision={forward: mx, backward: int8, small_layers: keep}"
    let kept = try train("--dry-run", "--json", "--set", wish)
    let products = try kept.object()["products"] as? [String] ?? []
    let gate = "gate, up_proj (128 x 32) in mx forward, int8 backward, int8 weight gradient, contraction"
    #expect(products.contains(gate), "\(kept)")
    #expect(products.contains("lm_head (256 x 32) in bf16 forward, bf16 backward, bf16 weight gradient"), "\(kept)")
    #expect(!FileManager.default.fileExists(atPath: scratch("run")))
  }

  @Test(arguments: [
    ("training.precision.foward=int8", "did you mean forward?"),
    ("training.precision.rotation=48", "16, 32, 64 or 128"),
    ("training.precision={forward: int8, layers: {model.layers.0.mlp.gat_proj.weight: fp32}}",
     "the nearest name is model.layers.0.mlp.gate_proj.weight"),
  ])
  func refusals(_ override: String, _ words: String) throws {
    for more in [[], ["--dry-run"]] {
      let result = try CommandLineTool.run(["train", "--config", scratch("run.yaml"), "--set", override] + more)
      #expect(result.status == 1 && !result.isSignal && result.output.isEmpty, "\(result)")
      #expect(result.errors.hasPrefix("error: ") && result.errors.contains(words), "\(result.errors)")
      #expect(result.errors.contains("training.precision"), "\(result.errors)")
    }
  }
}
