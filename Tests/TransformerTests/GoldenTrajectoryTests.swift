import Checkpoints
import Foundation
import Kernels
import Tensors
import Testing
import TestSupport
import Transformer

/// Ten AdamW steps with clipping, against torch in float64.
///
/// Bounds: plain fp32 torch ends 2.8e-4 of the distance travelled away from float64, at most 4.8e-4 in one parameter, its
/// losses within 6e-6 (where a gradient is near zero, Adam's first steps take its sign). Another order of sums may
/// be several times as far; a wrong constant, a decay too many or a missing clip is at 1e-2 and more.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)"))
struct GoldenTrajectoryTests {
  private struct File: Decodable {
    struct Run: Decodable {
      let loss: [Double]
      let gradient_norm_before_clipping: [Double]
      let loss_of_first_batch_after_step_10: Double
      let final_norm: Double
      let final_norms: [String: Double]
    }
    let runs: [String: Run]
  }

  @Test func tenSteps() throws {
    let file = try JSONDecoder().decode(File.self, from: SharedData.data("golden/trajectory/trajectory.json"))
    let run = try #require(file.runs["float64"])
    let ids = try SafeTensorsFile(SharedData.url("golden/trajectory/batches.safetensors").path).readIntegers("input_ids")
    let source = try HuggingFaceFolder(SharedData.url("models/stories260K/hf").path), c = source.configuration
    let arena = Arena("test")
    let w = Parameters(c, in: arena), g = Parameters(c, in: arena), m = Parameters(c, in: arena), v = Parameters(c, in: arena)
    try source.load(into: w)
    let start = w.allValues
    let space = try Workspace(c, sequences: 4, length: 64, purpose: .training, in: arena)
    var sums = HostBuffer<Double>(count: w.layout.all.reduce(0) { $0 + $1.spec.rows }, in: arena)
    func fill(_ batch: Int) {
      let tokens = Array(ids[batch * 256..<(batch + 1) * 256])
      space.fill(tokens, targets: nextTokens(tokens, length: 64))
    }

    for step in 1...10 {
      fill(step - 1)
      DecoderModel.lossAndGradients(w, g, space, scale: 1 / 252)
      let loss = space.lossSum / 252
      #expect(abs(loss - run.loss[step - 1]) <= 1e-4, "step \(step)")

      var row = 0
      for (unit, spec) in g.layout.all {
        GradientNorm.rowSums(
          of: g.units[unit].flat, at: spec.offset, rows: spec.rows, columns: spec.columns, into: &sums, at: row)
        row += spec.rows
      }
      let norm = (0..<row).reduce(0) { $0 + sums[$1] }.squareRoot()
      let expectedNorm = run.gradient_norm_before_clipping[step - 1]
      #expect(abs(norm - expectedNorm) <= 2e-4 * expectedNorm, "step \(step)")
      figure("step \(step): loss \(loss - run.loss[step - 1]), norm \(norm / expectedNorm - 1)")

      let update = AdamW(
        learningRate: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, step: step,
        gradientScale: Float(min(1, 1 / (norm + 1e-6))))
      for (unit, spec) in w.layout.all {
        update.update(
          master: &w.units[unit].flat, m: &m.units[unit].flat, v: &v.units[unit].flat, gradient: g.units[unit].flat,
          range: spec.offset..<spec.offset + spec.count, decays: spec.decays)
      }
    }
    fill(0)
    DecoderModel.loss(w, space)
    #expect(abs(space.lossSum / 252 - run.loss_of_first_batch_after_step_10) <= 1e-4)

    let golden = try SafeTensorsFile(SharedData.url("golden/trajectory/final.safetensors").path)
    var expected: [Float] = []
    for (unit, spec) in w.layout.all {
      let values = try golden.read(spec.name)
      expected += values
      let norm = w.values(unit, spec).reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
      let expectedNorm = try #require(run.final_norms[spec.name])
      #expect(abs(norm - expectedNorm) <= 1e-4 * expectedNorm, "\(spec.name)")
    }
    let end = w.allValues
    let away = zip(end, expected).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }.squareRoot()
    let travelled = zip(expected, start).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }.squareRoot()
    let most = zip(end, expected).map { abs($0 - $1) }.max()!
    #expect(away <= 2e-3 * travelled)
    #expect(most <= 2.5e-3)
    let norm = end.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
    #expect(abs(norm - run.final_norm) <= 1e-5 * run.final_norm)
    figure("after step 10: \(away / travelled) of the distance travelled, at most \(most) in one parameter")
  }
}
