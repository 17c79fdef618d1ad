import Checkpoints

/// `metrics.jsonl` of a run: what every step recorded, in ascending order.
public struct MetricsHistory: Sendable, Equatable {
  public struct Step: Sendable, Equatable {
    public var step: Int
    /// Tokens seen since the run began.
    public var tokens: Int
    /// Mean nats a scored token.
    public var loss: Double
    public var learningRate: Double?
    public var gradientNorm: Double?
    public var format: String
    public var tokensPerSecond: Double?
    /// Wall seconds by phase, in the order of the file.
    public var seconds: [Share<Double>]
    public var bytesSent: [Share<Int>]
  }

  /// One phase's or one kind's part of a sum.
  public struct Share<Value: Sendable & Equatable>: Sendable, Equatable {
    public var name: String
    public var value: Value
  }

  public struct Validation: Sendable, Equatable {
    public var step: Int
    public var format: String
    /// Mean nats a scored token.
    public var nll: Double
  }

  /// A checkpoint that was saved after a step.
  public struct Save: Sendable, Equatable {
    public var step: Int
    /// Of the next step, done before it was saved.
    public var microBatches: Int
    /// Seconds that training stood still for it, and that writing it took.
    public var secondsLost: Double
    public var secondsWriting: Double
    /// On the disk.
    public var bytes: Int
  }

  public var steps: [Step] = []
  public var validations: [Validation] = []
  public var saves: [Save] = []
  /// The last line has no newline and is no object: the run was killed while it wrote, or still writes.
  public var lastLineIsIncomplete = false

  /// Reads the file at `path`.
  public init(contentsOf path: String) throws(ReportError) {
    try self.init(WholeFile.text(path), path: path)
  }

  /// A step recorded twice counts once, as it was recorded last: a resumed run repeats what it lost.
  ///
  /// - Parameter path: the name errors use.
  public init(_ text: String, path: String) throws(ReportError) {
    var steps: [Int: Step] = [:], validations: [String: Validation] = [:], saves: [String: Save] = [:]
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() where !line.allSatisfy(\.isWhitespace) {
      let place = "\(path):\(index + 1)"
      let value: JSONValue
      do {
        value = try JSONScanner.parse(Array(line.utf8), path: place)
      } catch {
        // Only the last line can lack its newline.
        if index == lines.count - 1 {
          lastLineIsIncomplete = true
          break
        }
        throw ReportError(place, expected: "a JSON object", found: error.description)
      }
      if let validation = value["validation"] {
        let found = try Validation(value, validation, place)
        validations["\(found.step) \(found.format)"] = found
      } else if let checkpoint = value["checkpoint"] {
        let found = try Save(value, checkpoint, place)
        saves["\(found.step) \(found.microBatches)"] = found
      } else {
        let found = try Step(value, place)
        steps[found.step] = found
      }
    }
    self.steps = steps.values.sorted { $0.step < $1.step }
    self.validations = validations.values.sorted { ($0.step, $0.format) < ($1.step, $1.format) }
    self.saves = saves.values.sorted { ($0.step, $0.microBatches) < ($1.step, $1.microBatches) }
    guard !self.steps.isEmpty || !self.validations.isEmpty else {
      throw ReportError(path, expected: "a step a line", found: "none", hint: "The run has not finished its first step")
    }
  }
}

extension MetricsHistory.Step {
  init(_ value: JSONValue, _ place: String) throws(ReportError) {
    guard let step = value["step"]?.integer else {
      throw ReportError(place, expected: "an integer \"step\"", found: value["step"]?.kind ?? "none")
    }
    guard let loss = value["loss"]?.double else {
      throw ReportError(place, expected: "a number \"loss\"", found: value["loss"]?.kind ?? "none")
    }
    self.step = step
    self.loss = loss
    tokens = value["tokens"]?.integer ?? 0
    learningRate = value["lr"]?.double
    gradientNorm = value["grad_norm"]?.double
    format = value["format"]?.string ?? "fp32"
    tokensPerSecond = value["tokens_per_second"]?.double
    seconds = Self.shares(value["seconds"], \.double)
    bytesSent = Self.shares(value["bytes_sent"], \.integer)
  }

  /// The members of an object, or one nameless share for a plain number.
  private static func shares<Value>(
    _ value: JSONValue?, _ number: (JSONValue) -> Value?
  ) -> [MetricsHistory.Share<Value>] {
    guard let value else { return [] }
    if let single = number(value) { return [.init(name: "", value: single)] }
    return (value.object?.members ?? zip([], [])).compactMap { name, value in
      number(value).map { .init(name: name, value: $0) }
    }
  }
}

extension MetricsHistory.Validation {
  fileprivate init(_ value: JSONValue, _ validation: JSONValue, _ place: String) throws(ReportError) {
    guard let step = value["step"]?.integer, let format = validation["format"]?.string,
      let nll = validation["nll"]?.double
    else { throw ReportError(place, expected: "\"step\", \"format\" and \"nll\" of a validation", found: "not all") }
    self.init(step: step, format: format, nll: nll)
  }
}

extension MetricsHistory.Save {
  fileprivate init(_ value: JSONValue, _ checkpoint: JSONValue, _ place: String) throws(ReportError) {
    guard let step = value["step"]?.integer, let lost = checkpoint["seconds_lost"]?.double,
      let writing = checkpoint["seconds_writing"]?.double, let bytes = checkpoint["bytes"]?.integer
    else {
      throw ReportError(
        place, expected: "\"step\", \"seconds_lost\", \"seconds_writing\" and \"bytes\" of a checkpoint", found: "not all")
    }
    self.init(
      step: step, microBatches: checkpoint["micro_batches"]?.integer ?? 0, secondsLost: lost, secondsWriting: writing,
      bytes: bytes)
  }
}
