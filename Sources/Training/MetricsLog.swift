import Checkpoints
import Communication

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// `metrics.jsonl`: one object a line, written through at once, so that a killed run keeps every step it reported.
final class MetricsLog {
  private let path: String
  private let descriptor: Int32
  private var size: off_t

  init(_ path: String) throws(RunDirectoryError) {
    self.path = path
    descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw RunDirectoryError(path: path, cannot: "be opened for writing", errno) }
    size = lseek(descriptor, 0, SEEK_END)
  }

  deinit { close(descriptor) }

  func append(_ record: StepRecord) throws(RunDirectoryError) {
    let s = record.seconds
    try append([
      "step": .integer(record.step), "tokens": .integer(record.tokens), "loss": Self.number(record.loss),
      "lr": Self.number(record.learningRate), "grad_norm": Self.number(record.gradientNorm),
      "format": .string(record.format), "tokens_per_second": Self.number(record.tokensPerSecond),
      "seconds": [
        "weights": Self.number(s.weights), "compute": Self.number(s.compute), "reduce": Self.number(s.reduce),
        "update": Self.number(s.update), "communication": Self.number(record.traffic.seconds),
      ],
      "communication": [
        "exposed": Self.number(record.traffic.seconds), "span": Self.number(record.traffic.span),
        "hidden_fraction": Self.number(record.traffic.hiddenFraction),
        "exposed_gradients": Self.number(record.traffic.gradients.seconds),
        "exposed_weights": Self.number(record.traffic.weights.seconds),
        "exposed_control": Self.number(record.traffic.control.seconds),
      ],
      "bytes_sent": [
        "gradients": .integer(record.traffic.gradients.bytesSent),
        "weights": .integer(record.traffic.weights.bytesSent),
        "control": .integer(record.traffic.control.bytesSent),
      ],
      "bytes_between_nodes": [
        "gradients": .integer(record.traffic.gradients.bytesBetweenNodes),
        "weights": .integer(record.traffic.weights.bytesBetweenNodes),
        "control": .integer(record.traffic.control.bytesBetweenNodes),
      ],
    ])
  }

  func append(validation step: Int, format: String, nll: Double) throws(RunDirectoryError) {
    try append(["step": .integer(step), "validation": ["format": .string(format), "nll": Self.number(nll)]])
  }

  /// What a checkpoint cost: seconds that training lost, and that writing took.
  func append(_ save: CheckpointSave.Result, lost: Double) throws(RunDirectoryError) {
    try append([
      "step": .integer(save.step),
      "checkpoint": [
        "seconds_lost": Self.number(lost), "seconds_writing": Self.number(save.writingSeconds),
        "bytes": .integer(save.storedBytes), "content_bytes": .integer(save.contentBytes),
      ],
    ])
  }

  /// JSON has no NaN and no infinity: a validation that gives one is recorded as null.
  private static func number(_ value: Double) -> JSONValue { value.isFinite ? .number(value) : .null }

  /// Writes a whole line or none: what a full disk took of it is cut off again.
  private func append(_ object: JSONValue) throws(RunDirectoryError) {
    let line = object.serialized(order: .given) + [0x0A]
    var done = 0
    while done < line.count {
      let written = unsafe line.withUnsafeBytes { bytes in
        unsafe pwrite(descriptor, bytes.baseAddress! + done, line.count - done, size + off_t(done))
      }
      if written < 0 && errno == EINTR { continue }
      guard written > 0 else {
        let code = written < 0 ? errno : ENOSPC
        ftruncate(descriptor, size)
        throw RunDirectoryError(path: path, cannot: "be written", code)
      }
      done += written
    }
    size += off_t(line.count)
  }
}
