import Calibration
import Checkpoints
import Communication
import Evaluation
import Formats
import Reports
import Tensors
import Text
import Transformer

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Several methods on one model and one sample of text, side by side: each is calibrated into a directory of its own, and
/// all are measured on the same tokens.
final class CalibrationComparison {
  /// One measurement.
  private struct Row {
    let format: String
    let method: String
    let activations: MXFormat?
    let bitsPerWeight: Double
    let score: Score
    let outputError: Double?
    let seconds: Double?
  }

  private let job: CalibrationJob
  private let command: CalibrateCommand
  private let communicator: Communicator
  private let tokens: [Int32]
  private let context: Int
  private let methods: [String]
  private var rows: [Row] = []
  private let reference: Parameters?
  private let arena = Arena("comparison")

  init(_ job: CalibrationJob, _ command: CalibrateCommand, _ communicator: Communicator) throws {
    self.job = job
    self.command = command
    self.communicator = communicator
    context = command.options.context ?? min(512, job.source.configuration.contextLimit)
    methods = try communicator.onEveryRank {
      try (command.compare ?? "").split(separator: ",").map { try CalibrationMethod(String($0)).description }
    }
    guard Set(methods).count == methods.count else { throw Refusal("--compare \(command.compare ?? ""): a method is named twice.") }
    tokens = try communicator.onEveryRank {
      try EvaluationText.tokens(of: command.evaluate, for: job.source, [], limit: command.evaluateTokens)
    }
    reference = try communicator.onEveryRank { [arena] in
      guard command.kl else { return nil }
      let parameters = Parameters(job.source.configuration, in: arena)
      try job.source.load(into: parameters)
      return parameters
    }
  }

  /// Collective.
  func run() throws {
    // Everything that can be refused is refused before the first calibration.
    let plans = try communicator.onEveryRank {
      try job.formats.flatMap { format in
        try methods.map { (format: format, settings: try job.settings($0, format), activations: try activations(format)) }
      }
    }
    try measureSource()
    for plan in plans {
      let out = "\(command.out)/\(plan.format.name)/\(plan.settings.method)"
      if communicator.isRoot && !command.output.quiet { Terminal.note("\(plan.format) by \(plan.settings.method)") }
      let record = try isFinished(out, plan.settings) ? nil : job.run(plan.settings, out: out, communicator)
      try measure(out, plan.settings.method.description, plan.format.name, plan.activations, record)
    }
  }

  /// Whether the anchor is there from before; one that was made from something else is refused.
  private func isFinished(_ out: String, _ settings: CalibrationSettings) throws -> Bool {
    let finished = try communicator.fromRoot {
      guard TensorContainer.isContainer(out) else { return "" }
      let stored = try AnchorModel(out).metadata["calibration"]?.object
      var found = JSONObject(), wanted = JSONObject()
      wanted["model"] = .string(try WeightIdentity.of(job.source.path).description)
      wanted["settings"] = settings.json
      wanted["sample"] = settings.method.readsText ? job.sample.map { .string($0.identity) } : .null
      for key in wanted.keys { found[key] = stored?[key] }
      if let difference = CalibrationDifference.first(found, wanted) {
        throw Refusal(
          "\(out) was calibrated from something else, with another \(difference). Remove it or choose another --out.")
      }
      return "finished"
    }
    return !finished.isEmpty
  }

  private func activations(_ format: MXFormat) throws -> [MXFormat?] {
    try command.evaluateActivations.split(separator: ",").map { name in
      switch name {
      case "none": nil
      case "same": format
      default: try MXFormat(named: String(name))
      }
    }
  }

  private func measureSource() throws {
    let parameters = try communicator.onEveryRank {
      let parameters = Parameters(job.source.configuration, in: Arena("source"))
      try job.source.load(into: parameters)
      return parameters
    }
    let score = try score(parameters, activations: nil)
    rows.append(
      Row(format: "fp32", method: "-", activations: nil, bitsPerWeight: 32, score: score, outputError: nil, seconds: nil))
  }

  private func measure(
    _ path: String, _ method: String, _ format: String, _ activations: [MXFormat?], _ record: CalibrationRecord?
  ) throws {
    let (parameters, weights) = try communicator.onEveryRank {
      let anchor = try AnchorModel(path)
      let parameters = Parameters(anchor.configuration, in: Arena("anchor"))
      return (parameters, try anchor.load(into: parameters, as: nil))
    }
    let errors = record?.figures.compactMap(\.outputError) ?? []
    for activation in activations {
      rows.append(
        Row(
          format: format, method: method, activations: activation, bitsPerWeight: weights.bitsPerWeight,
          score: try score(parameters, activations: activation),
          outputError: errors.isEmpty ? nil : errors.reduce(0, +) / Double(errors.count), seconds: record?.seconds))
    }
  }

  /// Windows are shared out in whole batches, and their scores put together in order: the figures of one process.
  private func score(_ parameters: Parameters, activations: MXFormat?) throws -> Score {
    let evaluator = try communicator.onEveryRank {
      try Evaluator(
        parameters.configuration, context: context, sequences: max(1, min(2048 / context, tokens.count / context)),
        comparesWith: reference?.configuration, activationFormat: activations)
    }
    let count = evaluator.windowCount(of: tokens), batch = max(1, min(2048 / context, count))
    let own = (0..<count).filter { $0 / batch % communicator.size == communicator.rank }
    let shares = try communicator.onEveryRank {
      try evaluator.score(parameters, tokens: tokens, windows: own, reference: reference)
    }
    let width = WindowScore.valueCount(context: context, isCompared: reference != nil)
    var slots = HostBuffer<Double>(count: count * width, in: Arena("scores"))
    for share in shares {
      for (i, value) in share.values.enumerated() { slots[share.window * width + i] = value }
    }
    try communicator.sumDisjoint(&slots)
    return Score(
      context: context,
      windows: (0..<count).map { window in WindowScore(values: (0..<width).map { slots[window * width + $0] }) })
  }

  // MARK: Results

  /// The share of the loss by rounding to nearest that a method makes good; nil where there is nothing to compare with.
  private func recovered(_ row: Row) -> Double? {
    guard let nearest = rows.first(where: { $0.method == "rtn" && $0.format == row.format && $0.activations == row.activations }),
      row.method != "rtn", let source = rows.first, nearest.score.nll > source.score.nll
    else { return nil }
    return (nearest.score.nll - row.score.nll) / (nearest.score.nll - source.score.nll)
  }

  var table: TextTable {
    var table = TextTable(
      [
        .init("format"), .init("method"), .init("activations"), .init("bits per weight", .right),
        .init("nats per token", .right), .init("perplexity", .right), .init("recovered", .right),
      ] + (reference == nil ? [] : [.init("KL", .right), .init("same top", .right)])
        + [.init("output error", .right), .init("seconds", .right)])
    for row in rows {
      let distance = reference == nil ? [] : [
        row.score.kl.map { Figures.fixed($0, 5) } ?? "-",
        row.score.sameTop.map { Figures.fixed(100 * $0, 2) + " %" } ?? "-",
      ]
      table.add(
        [
          row.format, row.method, row.activations?.name ?? "-", Figures.fixed(row.bitsPerWeight, 2),
          Figures.fixed(row.score.nll, 5), Figures.perplexity(exp(row.score.nll)),
          recovered(row).map { Figures.fixed(100 * $0, 1) + " %" } ?? "-",
        ] + distance + [
          row.outputError.map { Figures.scientific($0) } ?? "-", row.seconds.map { Figures.fixed($0, 1) } ?? "-",
        ])
    }
    return table
  }

  var json: JSONValue {
    [
      "source": .string(job.source.path), "text": .array(command.evaluate.map { .string($0) }),
      "context": .integer(context), "calibration": job.sample.map { .string($0.identity) } ?? .null,
      "tokens_scored": .integer(rows.first?.score.tokensScored ?? 0),
      "results": .array(rows.map(object)),
    ]
  }

  private func object(_ row: Row) -> JSONValue {
    var object = JSONObject()
    object["format"] = .string(row.format)
    object["method"] = .string(row.method)
    object["activations"] = row.activations.map { .string($0.name) } ?? .null
    object["bits_per_weight"] = .number(row.bitsPerWeight)
    object["nll"] = .number(row.score.nll)
    object["perplexity"] = .number(exp(row.score.nll))
    object["recovered"] = recovered(row).map { .number($0) }
    object["kl"] = row.score.kl.map { .number($0) }
    object["same_top"] = row.score.sameTop.map { .number($0) }
    object["output_error"] = row.outputError.map { .number($0) }
    object["seconds"] = row.seconds.map { .number($0) }
    return .object(object)
  }
}
