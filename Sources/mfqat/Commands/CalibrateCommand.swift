import ArgumentParser
import Calibration
import Checkpoints
import Communication
import Formats
import Reports
import Tensors
import Text
import Transformer

/// `mfqat calibrate`: alone, or as one of the ranks of mpirun and srun.
struct CalibrateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "calibrate",
    abstract: "Choose codes, rotations and scales from text, without training, and write an anchor.",
    discussion: """
      Launch it with mpirun or srun for several ranks, or by itself for one: the anchor is the same. Methods are joined \
      by +: rtn, gptq, gptq-block, mr-gptq round; awq, awq-clip, smoothquant scale; quarot, hadamard, roste rotate; magr \
      lowers maxima; upstream corrects for what was rounded before; slanc records norm scales. Interrupted, it goes on from the last finished layer when it is started \
      again the same way. With --compare several methods and formats are calibrated one after the other into DIR, \
      evaluated on --evaluate, and shown side by side.

      With --bits formats are chosen: noise on one group of weights at a time shows how much the outputs suffer, and \
      the budget goes where it helps most. That needs the whole model in memory; started again it measures again, and \
      finds the same.
      """)

  @Option(help: ArgumentHelp("Model to calibrate.", valueName: "source"))
  var model: String

  @Option(parsing: .upToNextOption, help: ArgumentHelp(
    "Calibration text: text files, JSONL, or one token file; none for methods that look at weights alone.",
    valueName: "file"))
  var text: [String] = []

  @Option(help: ArgumentHelp("What to do.", valueName: "method"))
  var method = "gptq"

  @Option(
    help: ArgumentHelp("Format of the codes; several with --compare, none with --bits.", valueName: "format"))
  var format: String?

  @Option(help: ArgumentHelp("Directory to write; absent or empty.", valueName: "anchor"))
  var out: String

  @Option(help: ArgumentHelp(
    "Also write the sequences that are looked at, for mfqat train with data.context as --context.", valueName: "token-file"))
  var saveSample: String?

  @OptionGroup(title: "Allocation") var allocation: AllocationOptions

  @OptionGroup(title: "Method") var options: CalibrationOptions

  @Option(help: ArgumentHelp("Methods to compare, separated by commas.", valueName: "methods"))
  var compare: String?

  @Option(parsing: .upToNextOption, help: ArgumentHelp("Text that compared methods are measured on.", valueName: "file"))
  var evaluate: [String] = []

  @Option(help: ArgumentHelp("Use so many tokens of that text, in windows spread evenly over it.", valueName: "n"))
  var evaluateTokens: Int?

  @Option(help: ArgumentHelp(
    "Formats of activations that compared methods are measured with, separated by commas: none, same, or formats.",
    valueName: "formats"))
  var evaluateActivations = "none"

  @Flag(help: "Measure the distance to the model as well.")
  var kl = false

  @OptionGroup var output: OutputOptions

  func validate() throws {
    if compare != nil && evaluate.isEmpty { throw ValidationError("--compare measures: name a text with --evaluate.") }
    if compare == nil && !evaluate.isEmpty { throw ValidationError("--evaluate is for --compare. To measure an anchor: mfqat evaluate.") }
    try allocation.validate(
      format: format, compares: compare != nil, hasText: !text.isEmpty, hasTargets: options.targets != nil)
    if saveSample != nil && text.isEmpty { throw ValidationError("--save-sample: without --text there are no sequences to write.") }
    if options.sequences < 1 { throw ValidationError("--sequences \(options.sequences): at least one is needed.") }
    if let context = options.context, context < 2 {
      throw ValidationError("--context \(context): a sequence has at least 2 tokens.")
    }
  }

  func run() throws {
    let communicator = try Communicator.world()
    do {
      try calibrate(communicator)
    } catch let failure as CollectiveFailure {
      // Every rank is here: one speaks, and none leaves before it has.
      if failure.speaks { Terminal.note("error: \(failure)") }
      try communicator.barrier()
      throw ExitCode(1)
    }
  }

  private func calibrate(_ communicator: Communicator) throws {
    // Every rank reads the same files, so every rank fails alike; the first one says why.
    let job = try communicator.onEveryRank { try CalibrationJob(self, isRoot: communicator.isRoot) }
    try communicator.onRoot { try job.saveSample() }
    if compare != nil {
      let comparison = try CalibrationComparison(job, self, communicator)
      try comparison.run()
      if communicator.isRoot { try output.print(comparison.json, comparison.text) }
      return
    }
    let (settings, report) = try job.settings(communicator)
    let record = try job.run(settings, allocation: report, out: out, communicator)
    if communicator.isRoot { try output.print(Self.object(record, out), Self.table(record, out)) }
  }

  // MARK: Results

  private static func object(_ record: CalibrationRecord, _ out: String) -> JSONValue {
    var object = JSONObject()
    object["out"] = .string(out)
    for (key, value) in record.json.object?.members ?? zip([], []) { object[key] = value }
    return .object(object)
  }

  private static func table(_ record: CalibrationRecord, _ out: String) -> String {
    var table = TextTable(
      [
        .init("product"), .init("format"), .init("weight error", .right), .init("output error", .right),
        .init("of nearest", .right), .init("damping", .right), .init("dead", .right),
      ])
    for figures in record.figures {
      table.add([
        figures.name, figures.format.name, Figures.scientific(figures.weightError),
        figures.outputError.map { Figures.scientific($0) } ?? "-",
        figures.nearestError.map { Figures.scientific($0) } ?? "-", figures.damping.map { "\($0)" } ?? "-",
        "\(figures.deadChannels)",
      ])
    }
    let summary = "\(out): \(record.settings.method), \(Figures.fixed(record.bitsPerWeight, 3)) bits a weight, "
      + "\(Figures.fixed(record.seconds, 1)) s on \(record.ranks) rank\(record.ranks == 1 ? "" : "s"), peak memory of a rank "
      + "\(Figures.fixed(Double(record.peakBytes) / 1_048_576, 0)) MiB\n"
    return (record.allocation.map(Self.table) ?? "") + table.plain + summary
  }

  /// What was chosen, and what one format everywhere would have given instead.
  private static func table(_ report: AllocationReport) -> String {
    let (header, rows) = report.table
    var table = TextTable(header.enumerated().map { .init($1, [0, 3].contains($0) ? .left : .right) })
    for row in rows { table.add(row) }
    var uniform = TextTable([.init("predicted"), .init("bits per weight", .right), .init("nats per token", .right)])
    let all = report.allocation
    uniform.add(["this allocation", Figures.fixed(all.bitsPerWeight, 3), Figures.scientific(all.predicted)])
    for one in report.uniform {
      uniform.add(["all " + one.format.name, Figures.fixed(one.bitsPerWeight, 3), Figures.scientific(one.predicted)])
    }
    return "\(table.plain)\n\(uniform.plain)\n"
  }
}

/// What a calibration is made from, read once.
struct CalibrationJob {
  let source: any ModelSource
  let sample: CalibrationSample?
  let formats: [MXFormat]
  let command: CalibrateCommand

  init(_ command: CalibrateCommand, isRoot: Bool) throws {
    self.command = command
    source = try ModelSources.open(command.model) { if isRoot { command.output.note($0) } }
    formats = try (command.format ?? "").split(separator: ",").map { try MXFormat(named: String($0)) }
    guard command.allocation.bits != nil || formats.count == 1 || command.compare != nil && !formats.isEmpty else {
      throw Refusal("--format \(command.format ?? ""): one format is calibrated at a time; several are for --compare.")
    }
    if command.text.isEmpty {
      sample = nil
    } else {
      let limit = source.configuration.contextLimit, context = command.options.context ?? min(512, limit)
      guard context <= limit else {
        throw Refusal("--context \(context): the model \(source.path) attends to \(limit) tokens. Choose at most \(limit).")
      }
      let tokenizer = try source.tokenizer()
      let tokens = try TokenStream.open(
        command.text, tokenizer: tokenizer, vocabulary: source.configuration.vocabularySize)
      sample = try CalibrationSample(
        tokens, name: command.text.joined(separator: ", "), count: command.options.sequences, context: context, seed: command.options.seed)
    }
  }

  func settings(_ method: String, _ format: MXFormat) throws -> CalibrationSettings {
    let settings = try command.options.settings(CalibrationMethod(method), format)
    guard sample != nil || !settings.method.readsText else {
      throw Refusal("--text: method \(settings.method) looks at text. Name files of text like that the model will be used on.")
    }
    return settings
  }

  /// The one calibration asked for, its formats chosen where none is named. Collective.
  func settings(_ communicator: Communicator) throws -> (settings: CalibrationSettings, allocation: AllocationReport?) {
    let wanted = try communicator.onEveryRank { () -> AllocationRequest? in
      try command.allocation.request(sequences: sample?.sequences.count ?? 0)
    }
    guard let sample, let request = wanted else {
      return (try communicator.onEveryRank { try self.settings(command.method, formats[0]) }, nil)
    }
    var settings = try communicator.onEveryRank { try self.settings(command.method, request.candidates[0]) }
    let meter = command.output.meter("sensitivities", unit: "measurements")
    let report = try CalibrationRun.allocate(request, source, settings, sample: sample, on: communicator) { done, total in
      if communicator.isRoot { meter.update(done, of: total) }
    }
    meter.finish()
    settings.adopt(report, of: source)
    return (settings, report)
  }

  /// Writes the sequences one after the other, as training cuts them again.
  func saveSample() throws {
    guard let path = command.saveSample, let sample else { return }
    let tokens = sample.sequences.flatMap { $0 }
    if FileBytes.exists(path) {
      // A calibration that goes on finds what it has written.
      let file = try TokenFile(path)
      guard file.count == tokens.count, tokens.indices.allSatisfy({ file[$0] == tokens[$0] }) else {
        throw Refusal("--save-sample \(path): the file exists and holds other tokens. Remove it or choose another name.")
      }
      return
    }
    let tokenizer = try source.tokenizer()
    try TokenFile.write(
      tokens, vocabularySize: tokenizer.vocabularySize, tokenizerHash: tokenizer.contentHash,
      textHash: Checkpoints.ContentHash(Array(sample.identity.utf8)).description, to: path)
  }

  func run(
    _ settings: CalibrationSettings, allocation: AllocationReport? = nil, out: String, _ communicator: Communicator
  ) throws -> CalibrationRecord {
    let run = try communicator.onEveryRank {
      try CalibrationRun(source, settings, sample: sample, allocation: allocation, on: communicator) { progress in
        if !command.output.quiet { Terminal.note(Self.line(progress)) }
      }
    }
    if communicator.isRoot {
      for note in run.notes { command.output.note(note) }
      if let memory = run.memory {
        let parts = memory.parts.map { "\($0.purpose) \(Figures.bytes($0.bytes))" }
        command.output.note("a rank will hold \(Figures.bytes(memory.bytes)): \(parts.joined(separator: ", "))")
      }
    }
    return try run.run(out: out)
  }

  private static func line(_ progress: CalibrationProgress) -> String {
    var line = "\(progress.unit) (\(progress.done) of \(progress.total))"
    if progress.isResumed { return line + ": done before" }
    let products = progress.figures.map { figures in
      let name = figures.name.split(separator: ".").dropLast().last.map(String.init) ?? figures.name
      return name + " " + Figures.scientific(figures.outputError ?? figures.weightError)
        + (figures.nearestError.map { " (nearest \(Figures.scientific($0)))" } ?? "")
    }
    if !products.isEmpty { line += ": " + products.joined(separator: ", ") }
    for figures in progress.figures {
      for raise in figures.dampingRaises { line += "; \(figures.name): \(raise)" }
      if figures.deadChannels > 0 { line += "; \(figures.name): \(figures.deadChannels) dead channels" }
    }
    return line + "; \(Figures.duration(progress.seconds))"
  }
}
