import Checkpoints
import Foundation

/// Programs that do the same step, run in turns: A B C A B C ... The machine may be shared, so what counts is not a
/// figure but the ratio of two that were measured one after the other.
struct StepComparison {
  let command: StepCommand

  struct Competitor {
    let name: String
    let run: () throws -> Turn
  }

  struct Turn {
    let median: Double, leastDisturbed: Double, byProcessorTime: Double
    let peakMegabytes: Double
  }

  struct BrokenChild: Error, CustomStringConvertible {
    let description: String
  }

  func run() throws {
    var competitors = command.objectives.map { objective in
      Competitor(name: "mfqat \(objective)") { try ours(objective) }
    }
    if let baseline = command.compareTorch {
      if let problem = torchProblem(baseline) {
        command.report.note("PyTorch is left out: \(problem)")
      } else {
        for kind in command.torch {
          competitors.append(Competitor(name: "PyTorch " + kind.title) { try torch(baseline, kind.options) })
        }
      }
    }
    var turns: [[Turn]] = competitors.map { _ in [] }
    for turn in 0..<command.turns {
      for (index, competitor) in competitors.enumerated() {
        let result = try competitor.run()
        turns[index].append(result)
        command.report.note(
          "turn \(turn + 1)/\(command.turns)  \(competitor.name): \(result.median.fixed(0)) tokens/s, by processor time "
            + result.byProcessorTime.fixed(0))
      }
    }
    print(competitors, turns)
  }

  /// Every competitor against the first: the median over turns of the ratio within a turn.
  private func print(_ competitors: [Competitor], _ turns: [[Turn]]) {
    var table = Table(["program", "tokens/s", "best tenth", "by processor", "MB", "first : this", "by processor", "MB"])
    for (index, competitor) in competitors.enumerated() {
      let own = turns[index]
      func median(_ value: (Turn) -> Double) -> Double { own.map(value).median }
      func ratio(_ value: (Turn) -> Double) -> [Double] { zip(turns[0], own).map { value($0) / value($1) } }
      let wall = ratio(\.median), processor = ratio(\.byProcessorTime), memory = ratio(\.peakMegabytes)
      command.report.line([
        ("bench", "step_comparison"), ("config", .string(command.config.rawValue)), ("program", .string(competitor.name)),
        ("turns", .integer(own.count)), ("tokens_per_second_median", median(\.median).json),
        ("tokens_per_second_p10", median(\.leastDisturbed).json),
        ("tokens_per_second_processor", median(\.byProcessorTime).json), ("peak_megabytes", median(\.peakMegabytes).json),
        ("first_over_this", wall.median.json), ("first_over_this_min", wall.least.json),
        ("first_over_this_max", (wall.max() ?? 0).json), ("first_over_this_processor", processor.median.json),
        ("first_over_this_memory", memory.median.json),
      ])
      table.add([
        competitor.name, median(\.median).fixed(0), median(\.leastDisturbed).fixed(0), median(\.byProcessorTime).fixed(0),
        median(\.peakMegabytes).fixed(0), "\(wall.median.fixed(2)) (\(wall.least.fixed(2)) to \((wall.max() ?? 0).fixed(2)))",
        processor.median.fixed(2), memory.median.fixed(2),
      ])
    }
    command.report.table(
      "Step of \(command.config.rawValue), one thread each, \(command.turns) turns of \(command.seconds.fixed(0)) s", table)
  }

  private func ours(_ objective: String) throws -> Turn {
    let record = try child(CommandLine.executable, command.arguments(for: objective), removing: [])
    return Turn(
      median: try number(record, "tokens_per_second_median"), leastDisturbed: try number(record, "tokens_per_second_p10"),
      byProcessorTime: try number(record, "tokens_per_second_processor"),
      peakMegabytes: try number(record, "peak_bytes") / 0x1p20)
  }

  private func torch(_ baseline: String, _ options: [String]) throws -> Turn {
    var arguments = [
      baseline, "--config", command.config.baselineName, "--threads", "1", "--seconds",
      "\(command.seconds)",
    ] + options
    if let batch = command.batch { arguments += ["--batch", "\(batch)"] }
    let record = try child(command.python, arguments, removing: ["OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS"])
    return Turn(
      median: try number(record, "tok_s_median"), leastDisturbed: try number(record, "tok_s_p10"),
      byProcessorTime: try number(record, "tok_s_cpu"), peakMegabytes: record["peak_rss_mb"]?.array?.first?.double ?? 0)
  }

  private func torchProblem(_ baseline: String) -> String? {
    guard FileManager.default.fileExists(atPath: baseline) else { return "there is no file \(baseline)" }
    if command.context != nil { return "the baseline has a context of its own, and --context changes ours" }
    let answer = try? ChildProcess.run(command.python, ["-c", "import torch"])
    return answer?.status == 0 ? nil : "\(command.python) cannot import torch (--python names another interpreter)"
  }

  /// The last line of a child's output that is a JSON object.
  private func child(_ program: String, _ arguments: [String], removing variables: [String]) throws -> JSONValue {
    let answer = try ChildProcess.run(program, arguments, removing: variables)
    let lines = answer.output.split(separator: "\n").filter { $0.hasPrefix("{") }
    guard answer.status == 0, let line = lines.last else {
      throw BrokenChild(
        description: "\(program) \(arguments.joined(separator: " ")) ended with status \(answer.status) and printed no result")
    }
    return try JSONScanner.parse(Array(line.utf8))
  }

  private func number(_ record: JSONValue, _ key: String) throws -> Double {
    guard let value = record[key]?.double else { throw BrokenChild(description: "a result has no number \(key)") }
    return value
  }
}

extension CommandLine {
  /// The program that is running.
  static var executable: String {
    (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? arguments[0]
  }
}
