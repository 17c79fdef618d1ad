import Checkpoints
import Communication
import Foundation
import Settings
import TestSupport
import Testing
import Text
import Training
import Transformer

/// Ten steps of the trainer against ten steps of an independent implementation in float64.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)"))
struct TrajectoryTests {
  @Test(arguments: [1, 2, 4]) func tenStepsFollowTheReference(lanes: Int) throws {
    let folder = SharedData.url("models/stories260K/hf").path
    let batches = try SafeTensorsFile(SharedData.url("golden/trajectory/batches.safetensors").path)
    let bytes = try batches.readBytes("input_ids")
    let ids = unsafe bytes.withUnsafeBytes { unsafe Array($0.bindMemory(to: Int32.self)) }
    let settings = try Fixture.settings("""
      model: {path: unused}
      data: {train: [unused.txt], context: 64, shuffle: false}
      training: {steps: 10, batch: 4, lanes: \(lanes), learning_rate: 1.0e-3, decay: constant, clip: 1.0, seed: 1,
                 betas: [0.9, 0.95], weight_decay: 0.1}
      """)
    let source = try HuggingFaceFolder(folder)
    let trainer = try Trainer(settings, model: source.configuration, tokens: .memory(ids), communicator: .solo())
    try trainer.load(from: source)
    let expected = [2.36648395, 2.26874371, 1.73080653, 2.92348791, 1.83220590, 1.93575508, 1.88012640, 2.22519723,
                    2.26560468, 2.20633264]
    let norms = [5.224905, 3.961357, 3.816814, 5.435636, 6.177074, 4.347406, 3.616304, 5.661958, 5.673255, 4.817385]
    for step in 0..<10 {
      let record = try trainer.step()
      #expect(abs(record.loss - expected[step]) < 1e-4, "step \(step + 1): \(record.loss), expected \(expected[step])")
      #expect(abs(record.gradientNorm - norms[step]) < 1e-3 * norms[step], "step \(step + 1): \(record.gradientNorm)")
    }
    let final = try SafeTensorsFile(SharedData.url("golden/trajectory/final.safetensors").path)
    var worst = 0.0
    try trainer.forEachGatheredUnit(.master) { spec, values in
      let reference = try final.read(spec.name)
      var difference = 0.0, size = 0.0
      for i in 0..<values.count {
        difference += Double(values[i] - reference[i]) * Double(values[i] - reference[i])
        size += Double(reference[i]) * Double(reference[i])
      }
      worst = max(worst, (difference / size).squareRoot())
    }
    #expect(worst < 1e-4, "largest relative distance of a parameter after ten steps: \(worst)")
  }
}
