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
    tokens = try communicator.onEveryRank { [context] in
      let all = try EvaluationText.tokens(of: command.evaluate, for: job.source, [], limit: nil)
      return try Self.spread(all, context: context, limit: command.evaluateTokens)
    }
    reference = try communicator.onEveryRank { [arena] in
      guard command.kl else { return nil }
      let parameters = Parameters(job.source.configuration, in: arena)
      try job.source.load(into: parameters)
      return parameters
    }
  }

  /// As many whole windows as `limit` tokens hold, spread evenly over the text; all tokens without a limit.
  private static func spread(_ tokens: [Int32], context: Int, limit: Int?) throws -> [Int32] {
    let all = tokens.count / context, wanted = (limit ?? tokens.count) / context
    guard all > 0, wanted > 0 else { throw EvaluationError.tooFewTokens(found: min(tokens.count, limit ?? .max), needed: context) }
    guard wanted < all else { return tokens }
    return (0..<wanted).flatMap { window in
      let start = window * all / wanted * context
      return tokens[start..<start + context]
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
      try communicator.onRoot {
        try AtomicFile.write(
          json.serialized(order: .given, indent: 2) + [0x0A], to: command.out + "/comparison.json", replacing: true)
      }
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

  /// One table for each format of activations: perplexity of every method in every format, and the share of the loss by
  /// rounding to nearest that the method makes good.
  var text: String {
    guard let source = rows.first else { return "" }
    // A table is for other machines, too: where the model lies is in the JSON.
    let name = job.source.path.split(separator: "/").last.map(String.init) ?? job.source.path
    var modes: [MXFormat?] = []
    var titles: [String] = []
    for name in command.evaluateActivations.split(separator: ",").map(String.init) {
      titles.append(
        name == "none" ? "Weights alone" : name == "same" ? "Weights, and activations in the same format"
          : "Weights, and activations in \(name)")
      modes.append(try? MXFormat(named: name))
    }
    let lines = zip(titles, zip(modes, command.evaluateActivations.split(separator: ","))).map { title, mode in
      title + "\n\n" + table(mode.0, isSame: mode.1 == "same").plain
    }
    return lines.joined(separator: "\n")
      + "\n\(name): perplexity \(Figures.perplexity(exp(source.score.nll))) in full precision; "
      + "\(Figures.grouped(source.score.tokensScored)) tokens scored in windows of \(context), calibrated on "
      + "\(job.sample.map { "\($0.sequences.count) x \($0.context)" } ?? "no") tokens. In brackets: the share of the loss by rtn that is "
      + "made good.\n"
  }

  private func table(_ activations: MXFormat?, isSame: Bool) -> TextTable {
    let formats = job.formats
    var table = TextTable([.init("method")] + formats.map { .init($0.name, .right) })
    for method in methods {
      table.add(
        [method] + formats.map { format in
          let mode = isSame ? format : activations
          guard let row = rows.first(where: { $0.method == method && $0.format == format.name && $0.activations == mode })
          else { return "-" }
          return Figures.perplexity(exp(row.score.nll))
            + (recovered(row).map { " (\(Figures.fixed(100 * $0, 0)) %)" } ?? "")
        })
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
