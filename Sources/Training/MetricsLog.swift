import Checkpoints
import Communication

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// `metrics.jsonl`: one object a line, written through at once, so that a killed run keeps every step it reported.
///
/// A tolerant log outlives a full disk: lines that cannot be written stay in memory, in order, and go to the file
/// before the next one as soon as there is room. A killed run loses them.
package final class MetricsLog {
  /// Lines held before a tolerant log gives up: some 10 MB.
  package static let limit = 10_000

  private let path: String
  private let descriptor: Int32
  private let isTolerant: Bool, limit: Int
  private let report: (String) -> Void
  private var size: off_t
  /// Lines that are not in the file yet, and whether that has been told.
  private var held: [[UInt8]] = []
  private var isHolding = false

  /// - Parameters:
  ///   - tolerant: whether lines may wait for room; otherwise the first that cannot be written is an error.
  ///   - report: told once when lines begin to wait, and once when all have been written.
  package init(
    _ path: String, tolerant: Bool = false, limit: Int = MetricsLog.limit, report: @escaping (String) -> Void = { _ in }
  ) throws(RunDirectoryError) {
    self.path = path
    (isTolerant, self.limit, self.report) = (tolerant, limit, report)
    descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw RunDirectoryError(path: path, cannot: "be opened for writing", errno) }
    size = lseek(descriptor, 0, SEEK_END)
  }

  deinit { close(descriptor) }

  /// Writes what is held; an error if something still is: at the end of a run no line may be missing.
  package func flush() throws(RunDirectoryError) {
    guard let code = writeHeld() else { return }
    throw RunDirectoryError(path: path, cannot: "be written, \(held.count) lines are missing", code)
  }

  package func append(_ record: StepRecord) throws(RunDirectoryError) {
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

  package func append(validation step: Int, format: String, nll: Double) throws(RunDirectoryError) {
    try append(["step": .integer(step), "validation": ["format": .string(format), "nll": Self.number(nll)]])
  }

  /// What a checkpoint cost: seconds that training lost, and that writing took.
  func append(_ save: CheckpointSave.Result, lost: Double) throws(RunDirectoryError) {
    try append([
      "step": .integer(save.mark.step),
      "checkpoint": [
        "micro_batches": .integer(save.mark.microBatches),
        "seconds_lost": Self.number(lost), "seconds_writing": Self.number(save.writingSeconds),
        "bytes": .integer(save.storedBytes), "content_bytes": .integer(save.contentBytes),
      ],
    ])
  }

  /// JSON has no NaN and no infinity: a validation that gives one is recorded as null.
  private static func number(_ value: Double) -> JSONValue { value.isFinite ? .number(value) : .null }

  private func append(_ object: JSONValue) throws(RunDirectoryError) {
    held.append(object.serialized(order: .given) + [0x0A])
    guard let code = writeHeld() else { return }
    guard isTolerant, held.count <= limit else {
      held.removeLast()
      let what = isTolerant ? "be written, \(held.count) lines wait for it" : "be written"
      throw RunDirectoryError(path: path, cannot: what, code)
    }
    if !isHolding {
      isHolding = true
      let reason = unsafe String(cString: strerror(code))
      report("\(path): \(reason): lines are held in memory until they can be written")
    }
  }

  /// Writes lines in order up to the first that fails; its error number, or nil when none did.
  private func writeHeld() -> Int32? {
    var failure: Int32?
    let written = held.firstIndex { line in
      failure = write(line)
      return failure != nil
    }
    held.removeFirst(written ?? held.count)
    if failure == nil, isHolding {
      isHolding = false
      report("\(path): the lines held in memory have been written")
    }
    return failure
  }

  /// Writes a whole line or none, and gives the error number: what a full disk took of it is cut off again.
  private func write(_ line: [UInt8]) -> Int32? {
    var done = 0
    while done < line.count {
      let written = unsafe line.withUnsafeBytes { bytes in
        unsafe pwrite(descriptor, bytes.baseAddress! + done, line.count - done, size + off_t(done))
      }
      if written < 0 && errno == EINTR { continue }
      guard written > 0 else {
        let code = written < 0 ? errno : ENOSPC
        ftruncate(descriptor, size)
        return code
      }
      done += written
    }
    size += off_t(line.count)
    return nil
  }
}
