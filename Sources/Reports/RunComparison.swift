public import Checkpoints

/// Several runs side by side, each against the first: what a change of arithmetic cost. Their speeds are left out: runs
/// that shared a machine say nothing about them.
public struct RunComparison: Sendable {
  public let title: String
  public let runs: [RunSummary]

  /// - Precondition: at least one run.
  public init(title: String, runs: [RunSummary]) {
    precondition(!runs.isEmpty, "a comparison of no runs")
    self.title = title
    self.runs = runs
  }

  /// The formats that every run validated, in the order of the first.
  private var formats: [String] {
    runs[0].lastValidations.map(\.format).filter { format in
      runs.allSatisfy { $0.lastValidations.contains { $0.format == format } }
    }
  }

  /// A run's folder name, its training loss (mean of the last tenth of its steps, all formats), last held-out losses.
  public var table: TextTable {
    var columns: [TextTable.Column] = [.init("run"), .init("steps", .right), .init("loss", .right), .init("", .right)]
    for format in formats { columns += [.init("held out, \(format)", .right), .init("", .right)] }
    var table = TextTable(columns)
    for run in runs {
      var cells = [
        Self.name(run), run.last.map { Figures.grouped($0.step) } ?? "-", Figures.fixed(run.finalLoss, 4),
        change(run.finalLoss, runs[0].finalLoss, run),
      ]
      for format in formats {
        let (own, first) = (run.validation(format), runs[0].validation(format))
        cells += [Figures.fixed(own, 4), change(own, first, run)]
      }
      table.add(cells)
    }
    return table
  }

  public var note: String {
    "Nats a token. Loss: mean of the last tenth of the steps. Percentages: against \(Self.name(runs[0]))."
  }

  public var plain: String { "\(title)\n\n\(table.plain)\n\(note)\n" }
  public var markdown: String { "**\(title)**\n\n\(table.markdown)\n\(note)\n" }
  public var json: JSONValue { ["title": .string(title), "runs": .array(runs.map(\.json))] }

  private static func name(_ run: RunSummary) -> String { run.path.split(separator: "/").last.map(String.init) ?? run.path }

  private func change(_ value: Double, _ first: Double, _ run: RunSummary) -> String {
    guard run.path != runs[0].path else { return "" }
    let percent = (value / first - 1) * 100
    return (percent < 0 ? "" : "+") + Figures.fixed(percent, 2) + " %"
  }
}

extension RunSummary {
  fileprivate var finalLoss: Double {
    let losses = history.steps.map(\.loss), tail = losses.suffix(max(1, losses.count / 10))
    return tail.isEmpty ? .nan : tail.reduce(0, +) / Double(tail.count)
  }

  fileprivate func validation(_ format: String) -> Double {
    lastValidations.first { $0.format == format }?.nll ?? .nan
  }
}
