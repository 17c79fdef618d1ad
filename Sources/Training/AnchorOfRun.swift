import Checkpoints
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
    try trainer.weights.publishCodes(format)
    var writer: AnchorWriter?
    try communicator.onRoot {
      let anchor = try AnchorWriter(
        directory: path, format: format.name, scaleRule: trainer.weights.scaleRule.name, metadata: metadata)
      writer = anchor
      for file in origin.sidecars { try anchor.addSidecar(name: file.name, bytes: file.bytes) }
      try trainer.weights.forEachQuantizedTensor(in: format) { spec, codes, scales in
        try anchor.addPacked(
          name: spec.name, shape: spec.shape, format: format.name, rows: 0..<spec.rows, codes: codes, scales: scales)
      }
    }
    try trainer.forEachGatheredUnit(.master) { spec, values in
      if !trainer.plan.isQuantized(spec.name) {
        try writer?.addDense(name: spec.name, shape: spec.shape, values: values)
      }
    }
    try communicator.onRoot { try writer?.commit() }
  }
}
