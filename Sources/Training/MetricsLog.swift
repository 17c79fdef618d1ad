import Checkpoints
import Communication

import Foundation

/// `metrics.jsonl`: one object a line, written through at once, so that a killed run keeps every step it reported.
final class MetricsLog {
  private let file: FileHandle

  init(_ path: String) throws {
    if !FileManager.default.fileExists(atPath: path) { _ = FileManager.default.createFile(atPath: path, contents: nil) }
    guard let file = FileHandle(forWritingAtPath: path) else {
      throw RunDirectoryError(path: path, problem: "the file cannot be opened for writing", hint: "Check its permissions.")
    }
    try file.seekToEnd()
    self.file = file
  }

  func append(_ record: StepRecord) throws {
    let s = record.seconds
    try append([
      "step": .integer(record.step), "tokens": .integer(record.tokens), "loss": .number(record.loss),
      "lr": .number(record.learningRate), "grad_norm": .number(record.gradientNorm), "format": .string(record.format),
      "tokens_per_second": .number(record.tokensPerSecond),
      "seconds": [
        "weights": .number(s.weights), "compute": .number(s.compute), "reduce": .number(s.reduce),
        "update": .number(s.update), "communication": .number(record.traffic.seconds),
      ],
      "bytes_sent": [
        "gradients": .integer(record.traffic.gradients.bytesSent), "weights": .integer(record.traffic.weights.bytesSent),
        "control": .integer(record.traffic.control.bytesSent),
      ],
    ])
  }

  func append(validation step: Int, format: String, nll: Double) throws {
    try append(["step": .integer(step), "validation": ["format": .string(format), "nll": .number(nll)]])
  }

  private func append(_ object: JSONValue) throws {
    try file.write(contentsOf: Data(object.serialized(order: .given) + [0x0A]))
  }
}
