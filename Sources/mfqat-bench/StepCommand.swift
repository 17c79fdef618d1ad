import ArgumentParser
import Checkpoints
import Communication
import Formats
import Kernels
import Quantization
import Settings

/// `mfqat-bench step`: the trainer's own step on synthetic tokens and random weights.
struct StepCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "step",
    abstract: "A training step: tokens a second, time by phase, peak memory beside its forecast.",
    discussion: """
      Several objectives, and the PyTorch baseline, run as programs of their own in turns (A B C A B C ...), so that all \
      of them meet the machine in the same states; ratios are medians over turns. Under mpirun the ranks share the step.
      """)

  @Option(help: "Model shape: \(BenchModel.allCases.map(\.rawValue).joined(separator: ", ")).")
  var config = BenchModel.stories15m
  @Option(name: .customLong("objective"), help: "\(MeasuredObjective.help) May be repeated.")
  var objectives: [String] = ["fp32"]
  @Option(help: "Steps to measure; without, as many as fit into --seconds.")
  var steps: Int?
  @Option(help: "Seconds of each measurement.")
  var seconds = 10.0
  @Option(help: "Sequences a step; the configuration's without.")
  var batch: Int?
  @Option(help: "Tokens a sequence; the configuration's without.")
  var context: Int?
  @Option(help: "Lanes; one a rank without.")
  var lanes: Int?
  @Option(help: "Schedule: \(FormatSchedule.Kind.allCases.map(\.rawValue).joined(separator: ", ")).")
  var schedule: String?
  @Option(help: "Path: \(ForwardPathKind.allCases.map(\.rawValue).joined(separator: ", ")).")
  var path = ForwardPathKind.viaAnchor.rawValue
  @Option(help: "Estimator: \(GradientEstimator.allCases.map(\.rawValue).joined(separator: ", ")).")
  var estimator = GradientEstimator.straightThrough.rawValue
  @Option(help: "Threads of a rank.")
  var threads = 1
  @Option(name: .customLong("set"), help: "A key of the run's configuration, as mfqat train has it. May be repeated.")
  var overrides: [String] = []
  @Flag(help: "Time every part of the step alone and print its share.")
  var profile = false
  @Option(help: "torch_baseline.py: run PyTorch's step in turns with this one.")
  var compareTorch: String?
  @Option(help: "PyTorch's competitors: \(TorchBaseline.allCases.map(\.rawValue).joined(separator: ", ")).")
  var torch: [TorchBaseline] = [.fp32, .fp32Compile]
  @Option(help: "The interpreter that has torch.")
  var python = "python3"
  @Option(help: "Turns, where several programs are compared.")
  var turns = 3
  @OptionGroup var report: ReportOptions

  func validate() throws {
    guard seconds > 0, turns > 0, threads > 0, steps ?? 1 > 0 else {
      throw ValidationError("--seconds, --turns, --threads and --steps are above 0")
    }
    for objective in objectives { _ = try MeasuredObjective.named(objective) }
  }

  func run() throws {
    if objectives.count > 1 || compareTorch != nil {
      try StepComparison(command: self).run()
      return
    }
    ThreadTeam.configure(threads: threads)
    let communicator = try Communicator.world()
    let objective = try MeasuredObjective.named(objectives[0])
    let measurement = try StepMeasurement(self, objective, on: communicator)
    guard communicator.isRoot else { return }
    report.line(measurement.members)
    report.text(measurement.text)
    if profile { try StepProfile(self, objective, measured: measurement).print(report) }
  }

  /// What a run of `mfqat train` with this shape would be told.
  func settings(_ objective: MeasuredObjective, lanes: Int) throws -> RunConfiguration {
    let formats = objective.formats.map(\.name).joined(separator: ", ")
    let quantization = objective.formats.isEmpty
      ? "{}"
      : "{formats: [\(formats)], path: \(path), estimator: \(estimator)"
        + (schedule.map { ", schedule: \($0)" } ?? "") + "}"
    return try RunConfiguration(
      yaml: """
        model: {config: {hidden_size: 1}, tokenizer: none}
        data: {train: [synthetic], context: \(context ?? config.context)}
        quantization: \(quantization)
        training: {steps: 10000, batch: \(batch ?? config.batch), lanes: \(lanes), learning_rate: 1.0e-4, precision: \(objective.precisionYAML)}
        """, file: "mfqat-bench step", overrides: overrides)
  }

  /// The options that a child needs to measure `objective` as this command would.
  func arguments(for objective: String) -> [String] {
    var arguments = [
      "step", "--json", "--config", config.rawValue, "--objective", objective, "--seconds", "\(seconds)", "--path", path,
      "--estimator", estimator, "--threads", "\(threads)",
    ]
    for (name, value) in [("--steps", steps), ("--batch", batch), ("--context", context), ("--lanes", lanes)] {
      if let value { arguments += [name, "\(value)"] }
    }
    for change in overrides { arguments += ["--set", change] }
    if let schedule, !objective.hasPrefix("fp32") { arguments += ["--schedule", schedule] }
    return arguments
  }
}

extension BenchModel: CustomStringConvertible {
  var description: String { rawValue }
}
