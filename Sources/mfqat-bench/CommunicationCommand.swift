import ArgumentParser
import Checkpoints
import Communication
import Formats
import Settings
import Training

/// `mfqat-bench communication`: whole steps on every wire, beside what the links promise.
struct CommunicationCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "communication",
    abstract: "Steps on wires of gradients and weights, with and without overlap, beside the alpha-beta model.",
    discussion: """
      Trains random weights on random tokens, few a step, on the ranks of the launcher. Every pair of wires is measured \
      without overlap and with it. Bits are those which the link of one node carries of every parameter that comes from \
      elsewhere.

      Predicted is an undisturbed step, and held against the least: the part of a step without overlap that is not spent \
      in communication, on the slowest rank, and the model's seconds for the bytes that this pair sends, on links that \
      are measured first. Ranks that share processors wait for one another, which looks like communication; --baseline \
      takes that and the processors' work for the network into account: the rest of a step is then what it took in \
      another run on fast links, less the model's seconds on those.

        launch/cluster up 3 2
        launch/cluster run mfqat-bench communication --json >fast.jsonl
        launch/cluster rate 1gbit
        launch/cluster run mfqat-bench communication --baseline fast.jsonl
      """)

  @Option(help: "Model shape: \(BenchModel.allCases.map(\.rawValue).joined(separator: ", ")).")
  var config = BenchModel.d
  @Option(name: .customLong("wires"), help: """
    GRADIENTS/WEIGHTS, e.g. two_level/anchor; may be repeated. Gradients: \
    \(GradientTransport.allCases.map(\.rawValue).joined(separator: ", ")); weights: \
    \(WeightTransport.allCases.map(\.rawValue).joined(separator: ", ")).
    """)
  var wires = [
    "exact/fp32", "fp32/bf16", "bf16/bf16", "int8/anchor", "two_level/anchor", "two_level/delta", "two_level/code_delta",
  ]
  @Option(help: "Objective. \(MeasuredObjective.help)")
  var objective = "mxint"
  @Option(help: "What ranks keep of the weights: \(Sharding.allCases.map(\.rawValue).joined(separator: ", ")).")
  var sharding = Sharding.replicate.rawValue
  @Option(help: "Steps to measure of each, after two that are not counted.")
  var steps = 8
  @Option(help: "Sequences of a rank and step.")
  var sequences = 1
  @Option(help: "Tokens a sequence; the configuration's without.")
  var context: Int?
  @Option(help: "What the same command printed with --json on links that cost next to nothing.")
  var baseline: String?
  @Option(help: "Gbit/s of the link between nodes, for the prediction; measured without.")
  var link: Double?
  @OptionGroup var report: ReportOptions

  func validate() throws {
    guard steps > 0, sequences > 0, link ?? 1 > 0 else {
      throw ValidationError("--steps, --sequences and --link are above 0")
    }
  }

  func run() throws {
    let communicator = try Communicator.world()
    guard communicator.size > 1 else { throw ValidationError("several ranks are needed: run it under mpirun") }
    let probe = try LinkProbe(on: communicator, largest: 16 << 20, repetitions: 20)
    if communicator.isRoot { probe.print(report) }
    guard var links = try probe.models(on: communicator) else {
      throw ValidationError("no straight line fits the links")
    }
    let baseline = try baseline.map { try CommunicationBaseline(file: $0) }
    if let link { links.between.bytesPerSecond = link / 8 * 1e9 }

    var table = Table([
      "gradients/weights", "overlap", "steps/s", "ms", "least", "predicted", "error", "local ms", "exposed ms", "hidden",
      "MB between", "bits g", "bits w",
    ])
    for pair in wires {
      let plain = try CommunicationMeasurement(self, pair, overlap: false, on: communicator)
      let overlapped = try CommunicationMeasurement(self, pair, overlap: true, on: communicator)
      guard communicator.isRoot else { continue }
      // What is left of a step without communication is clearer where nothing runs beside it.
      let rest = baseline.map { ($0.local(of: pair), $0.local(of: pair)) } ?? (plain.local, plain.compute)
      for measured in [plain, overlapped] {
        let exposed = measured.forecast.exposedSeconds(compute: rest.1 ?? 0, on: links, overlap: measured.overlap)
        add(measured, rest.0.map { $0 + exposed }, links, &table)
      }
    }
    guard communicator.isRoot else { return }
    report.table(
      "Steps of \(config.rawValue) on \(communicator.nodeDescription), sharding \(sharding); predicted for "
        + "\(links.between.gigabitsPerSecond.fixed(2)) Gbit/s and \((1e6 * links.between.latency).fixed(0)) us", table)
  }

  private func add(
    _ measured: CommunicationMeasurement, _ predicted: Double?, _ links: LinkModels, _ table: inout Table
  ) {
    let step = measured.times.wall.median, least = measured.times.wall.least
    let error = predicted.map { $0 / least - 1 }
    report.line(
      measured.members + [
        ("predicted_seconds", predicted?.json ?? .null), ("prediction_error", error?.json ?? .null),
        ("model_seconds", measured.forecast.communicationSeconds(on: links).json), ("sharding", .string(sharding)),
        ("config", .string(config.rawValue)),
      ])
    let cells = [
      measured.pair, measured.overlap ? "yes" : "no", (1 / step).fixed(2), (1000 * step).fixed(1),
      (1000 * least).fixed(1), predicted.map { (1000 * $0).fixed(1) } ?? "-",
      error.map { (100 * $0).fixed(0) + " %" } ?? "-", (1000 * measured.local).fixed(1),
      (1000 * measured.exposed).fixed(1), (100 * measured.hiddenFraction).fixed(0) + " %",
      (Double(measured.bytesBetweenNodes) / 1e6).fixed(2), measured.bits(measured.gradientBytes).fixed(2),
      measured.bits(measured.weightBytes).fixed(2),
    ]
    table.add(cells)
  }

  func settings(_ pair: String, overlap: Bool, ranks: Int) throws -> RunConfiguration {
    let parts = pair.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2 else { throw ValidationError("--wires \(pair): write GRADIENTS/WEIGHTS") }
    let formats = try MeasuredObjective.named(objective).formats.map(\.name).joined(separator: ", ")
    return try RunConfiguration(
      yaml: """
        model: {config: {hidden_size: 1}, tokenizer: none}
        data: {train: [synthetic], context: \(context ?? config.context)}
        quantization: \(formats.isEmpty ? "{}" : "{formats: [\(formats)]}")
        training: {steps: 10000, batch: \(sequences * ranks), lanes: \(ranks), learning_rate: 1.0e-4}
        communication: {gradients: \(parts[0]), weights: \(parts[1]), overlap: \(overlap), sharding: \(sharding)}
        """, file: "mfqat-bench communication")
  }
}
