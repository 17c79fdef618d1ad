public import Checkpoints

/// What a run did, in a dozen figures: made of `metrics.jsonl`.
public struct RunSummary: Sendable {
  public let path: String
  public let history: MetricsHistory

  public init(path: String, history: MetricsHistory) {
    self.path = path
    self.history = history
  }

  /// Reads `metrics.jsonl` of the run directory `path`.
  public init(runDirectory path: String) throws(ReportError) {
    self.init(path: path, history: try MetricsHistory(contentsOf: path + "/" + Self.metricsFile))
  }

  public static let metricsFile = "metrics.jsonl"

  public var first: MetricsHistory.Step? { history.steps.first }
  public var last: MetricsHistory.Step? { history.steps.last }

  /// Mean loss of the last tenth of the steps, at least one: single steps are noisy.
  public var finalLoss: Double? {
    let steps = history.steps.suffix(max(1, history.steps.count / 10))
    return steps.isEmpty ? nil : steps.reduce(0) { $0 + $1.loss } / Double(steps.count)
  }

  /// The median over steps: the first one or two are slower and would pull a mean.
  public var tokensPerSecond: Double? {
    let rates = history.steps.compactMap(\.tokensPerSecond).sorted()
    guard !rates.isEmpty else { return nil }
    let middle = rates.count / 2
    return rates.count % 2 == 1 ? rates[middle] : (rates[middle - 1] + rates[middle]) / 2
  }

  /// Wall seconds of all steps by phase.
  public var seconds: [MetricsHistory.Share<Double>] { sum(\.seconds, +) }
  /// Bytes of all steps by kind.
  public var bytesSent: [MetricsHistory.Share<Int>] { sum(\.bytesSent, +) }

  /// Steps by format, in order of first use.
  public var formats: [MetricsHistory.Share<Int>] {
    var shares: [MetricsHistory.Share<Int>] = []
    for step in history.steps { Self.add(.init(name: step.format, value: 1), to: &shares, +) }
    return shares
  }

  /// The last validation of every format.
  public var lastValidations: [MetricsHistory.Validation] {
    guard let last = history.validations.map(\.step).max() else { return [] }
    return history.validations.filter { $0.step == last }
  }

  private func sum<Value>(
    _ shares: KeyPath<MetricsHistory.Step, [MetricsHistory.Share<Value>]>, _ add: (Value, Value) -> Value
  ) -> [MetricsHistory.Share<Value>] {
    var sums: [MetricsHistory.Share<Value>] = []
    for step in history.steps {
      for share in step[keyPath: shares] { Self.add(share, to: &sums, add) }
    }
    return sums
  }

  private static func add<Value>(
    _ share: MetricsHistory.Share<Value>, to sums: inout [MetricsHistory.Share<Value>],
    _ add: (Value, Value) -> Value
  ) {
    if let index = sums.firstIndex(where: { $0.name == share.name }) {
      sums[index].value = add(sums[index].value, share.value)
    } else {
      sums.append(share)
    }
  }
}

// MARK: - Shown

extension RunSummary {
  /// Two columns of names and figures.
  public var table: TextTable {
    var table = TextTable([.init("run"), .init(path)])
    if let first, let last {
      table.add(["steps", "\(first.step) to \(last.step), \(Figures.grouped(last.tokens)) tokens"])
      table.add(["loss", "\(Figures.fixed(first.loss, 4)) at first, \(Figures.fixed(last.loss, 4)) at last"])
      if let finalLoss { table.add(["", "\(Figures.fixed(finalLoss, 4)) mean of the last tenth"]) }
    }
    if formats.count > 1 || formats.first?.name != "fp32" {
      table.add(["steps by format", formats.map { "\($0.name) \($0.value)" }.joined(separator: ", ")])
    }
    if let tokensPerSecond { table.add(["tokens a second", "\(Figures.grouped(Int(tokensPerSecond.rounded()))) (median)"]) }
    for (index, share) in seconds.enumerated() {
      table.add([index == 0 ? "time" : "", [share.name, Figures.duration(share.value)].filter { !$0.isEmpty }.joined(separator: " ")])
    }
    for (index, share) in bytesSent.enumerated() {
      table.add([index == 0 ? "sent by rank 0" : "", [share.name, Figures.bytes(share.value)].filter { !$0.isEmpty }.joined(separator: " ")])
    }
    for (index, validation) in lastValidations.enumerated() {
      table.add([
        index == 0 ? "validation" : "",
        "\(validation.format) \(Figures.fixed(validation.nll, 4)) nats a token at step \(validation.step)",
      ])
    }
    if history.lastLineIsIncomplete { table.add(["note", "the last line of \(Self.metricsFile) is incomplete and left out"]) }
    return table
  }

  public var json: JSONValue {
    func object<Value>(_ shares: [MetricsHistory.Share<Value>], _ value: (Value) -> JSONValue) -> JSONValue {
      var object = JSONObject()
      for share in shares { object[share.name.isEmpty ? "all" : share.name] = value(share.value) }
      return .object(object)
    }
    var summary = JSONObject()
    summary["run"] = .string(path)
    summary["steps"] = .integer(history.steps.count)
    summary["first_step"] = first.map { .integer($0.step) } ?? .null
    summary["last_step"] = last.map { .integer($0.step) } ?? .null
    summary["tokens"] = last.map { .integer($0.tokens) } ?? .null
    summary["first_loss"] = first.map { .number($0.loss) } ?? .null
    summary["last_loss"] = last.map { .number($0.loss) } ?? .null
    summary["final_loss"] = finalLoss.map { .number($0) } ?? .null
    summary["tokens_per_second"] = tokensPerSecond.map { .number($0) } ?? .null
    summary["steps_by_format"] = object(formats) { .integer($0) }
    summary["seconds"] = object(seconds) { .number($0) }
    summary["bytes_sent"] = object(bytesSent) { .integer($0) }
    summary["validation"] = .array(lastValidations.map {
      ["step": .integer($0.step), "format": .string($0.format), "nll": .number($0.nll)]
    })
    return .object(summary)
  }
}
