import Checkpoints
import Communication
import Formats
import Quantization
import Transformer

/// The anchor a run ends with: every quantized tensor in the anchor format, the rest in fp32.
enum AnchorOfRun {
  /// Collective: codes are gathered exactly as the training steps gather them; the root writes.
  static func write(
    _ trainer: Trainer, format: MXFormat, origin: ModelOrigin, metadata: JSONObject, to path: String
  ) throws {
    let communicator = trainer.communicator
    var export: AnchorExport?
    try communicator.onRoot {
      export = try AnchorExport(
        directory: path, format: format, scales: .rule(trainer.weights.scaleRule),
        layout: trainer.weights.parameters.layout,
        sidecars: origin.sidecars, metadata: metadata)
    }
    try trainer.forEachPackedUnit(format) { spec, codes, scales in
      try export?.addPacked(spec, codes: codes, scales: scales)
    }
    try trainer.forEachGatheredUnit(.master) { spec, values in
      if !trainer.plan.isQuantized(spec.name) { try export?.addDense(spec, values: values) }
    }
    try communicator.onRoot { try export?.commit() }
  }
}
