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

  /// Losses of the steps that ran one format: only those can be compared with each other.
  public struct Losses: Sendable, Equatable {
    public let format: String
    public let first: Double
    public let last: Double
    /// Mean of the last tenth of the format's steps, at least one: single steps are noisy.
    public let final: Double
  }

  /// By format, in order of first use.
  public var losses: [Losses] {
    formats.map { format in
      let losses = history.steps.filter { $0.format == format.name }.map(\.loss)
      let tail = losses.suffix(max(1, losses.count / 10))
      return Losses(
        format: format.name, first: losses[0], last: losses[losses.count - 1],
        final: tail.reduce(0, +) / Double(tail.count))
    }
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
  /// What a checkpoint cost in the mean, of those after which training went on: seconds that it stood still, and that the
  /// `following` steps took beyond the median step, because a thread was writing beside them; and the share of the time
  /// from one checkpoint to the next that both are.
  public struct SavingCost: Sendable, Equatable {
    public let standstill: Double
    public let excess: Double
    public let share: Double
    public static let following = 3

    public init(standstill: Double, excess: Double, share: Double) {
      (self.standstill, self.excess, self.share) = (standstill, excess, share)
    }
  }

  /// Nil where training never went on long enough after one.
  public var savingCost: SavingCost? {
    let duration = Dictionary(uniqueKeysWithValues: history.steps.map { ($0.step, Self.duration(of: $0)) })
    let sorted = duration.values.sorted()
    guard let last = last?.step, !sorted.isEmpty else { return nil }
    let median = sorted[sorted.count / 2]
    let saves = history.saves.filter { $0.step + SavingCost.following <= last }
    guard let first = saves.first, median > 0 else { return nil }
    let standstill = saves.reduce(0) { $0 + $1.secondsLost } / Double(saves.count)
    let after = saves.flatMap { save in (1...SavingCost.following).compactMap { duration[save.step + $0] } }
    let excess = after.reduce(0) { $0 + $1 - median } / Double(saves.count)
    let steps = Double(saves.count > 1 ? (saves[saves.count - 1].step - first.step) / (saves.count - 1) : first.step)
    guard steps > 0 else { return nil }
    return SavingCost(standstill: standstill, excess: excess, share: (standstill + excess) / (steps * median))
  }

  private static func duration(of step: MetricsHistory.Step) -> Double {
    // Measured inside the calls, so it is a part of the phases and not one more.
    step.seconds.filter { $0.name != "communication" }.reduce(0) { $0 + $1.value }
  }

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
    }
    for (index, loss) in losses.enumerated() {
      table.add([
        index == 0 ? "loss" : "",
        "\(loss.format) \(Figures.fixed(loss.first, 4)) at first, \(Figures.fixed(loss.last, 4)) at last, "
          + "\(Figures.fixed(loss.final, 4)) mean of its last tenth",
      ])
    }
    if formats.count > 1 || formats.first?.name != "fp32" {
      table.add(["steps by format", formats.map { "\($0.name) \($0.value)" }.joined(separator: ", ")])
    }
    if let tokensPerSecond {
      table.add(["tokens a second", "\(Figures.grouped(Int(tokensPerSecond.rounded()))) (median)"])
    }
    for (index, share) in seconds.enumerated() {
      // Measured inside the calls, so it is a part of the phases and not one more.
      let note = share.name == "communication" ? ", inside the phases above" : ""
      table.add([index == 0 ? "time" : "", Self.named(share.name, Figures.duration(share.value)) + note])
    }
    if let save = history.saves.last {
      table.add(["checkpoints", "\(history.saves.count) saved, the last of \(Figures.bytes(save.bytes))" + cost])
    }
    for (index, share) in bytesSent.enumerated() {
      table.add([index == 0 ? "sent by rank 0" : "", Self.named(share.name, Figures.bytes(share.value))])
    }
    for (index, validation) in lastValidations.enumerated() {
      table.add([
        index == 0 ? "validation" : "",
        "\(validation.format) \(Figures.fixed(validation.nll, 4)) nats a token at step \(validation.step)",
      ])
    }
    if history.lastLineIsIncomplete {
      table.add(["note", "the last line of \(Self.metricsFile) is incomplete and left out"])
    }
    return table
  }

  private var cost: String {
    guard let cost = savingCost else { return "" }
    return "; each: \(Figures.fixed(cost.standstill, 3)) s of standstill, \(Figures.fixed(cost.excess, 3)) s more in the "
      + "\(SavingCost.following) steps after it, \(Figures.fixed(100 * cost.share, 2)) % of the time"
  }

  private static func named(_ name: String, _ figure: String) -> String { name.isEmpty ? figure : "\(name) \(figure)" }

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
    summary["losses"] = .array(losses.map {
      [
        "format": .string($0.format), "first": .number($0.first), "last": .number($0.last), "final": .number($0.final),
      ]
    })
    summary["tokens_per_second"] = tokensPerSecond.map { .number($0) } ?? .null
    summary["steps_by_format"] = object(formats) { .integer($0) }
    summary["seconds"] = object(seconds) { .number($0) }
    summary["bytes_sent"] = object(bytesSent) { .integer($0) }
    summary["checkpoints"] = .array(history.saves.map {
      [
        "step": .integer($0.step), "seconds_lost": .number($0.secondsLost), "seconds_writing": .number($0.secondsWriting),
        "bytes": .integer($0.bytes),
      ]
    })
    summary["validation"] = .array(lastValidations.map {
      ["step": .integer($0.step), "format": .string($0.format), "nll": .number($0.nll)]
    })
    return .object(summary)
  }
}
