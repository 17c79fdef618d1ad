import ArgumentParser
import Calibration
import Checkpoints
import Evaluation
import Formats
import Quantization
import Reports
import Tensors
import Text
import Transformer

/// `mfqat compare`: what rounding, calibration and training each made of one start.
struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Compare rounded, calibrated and trained models with the start they were made from.",
    discussion: """
      For each CANDIDATE, on the same tokens: perplexity; its distance from the weights of START, relative to their \
      norm; the sum of its tensors' squared relative errors; the loss on the straight line from START to it, and how \
      far along that line the loss stays near the start's (the basin). Over 3 candidates or more: the rank correlation \
      of those errors and the loss. Anchors that were calibrated on text have a second error, of the outputs of their \
      layers on that text. START given again as a candidate, with --format, is rounding to nearest.

      All models must be in the same coordinates: a rotated or rescaled model is far from its original, though it is \
      the same function. Memory: two models and what evaluate needs.
      """)

  @Argument(help: ArgumentHelp("The model that all others were made from, as stored.", valueName: "start"))
  var start: String

  @Argument(help: ArgumentHelp("Models made from it: sources of any kind.", valueName: "candidate"))
  var candidates: [String]

  @Option(parsing: .upToNextOption, help: ArgumentHelp("Text files, or one token file.", valueName: "file"))
  var text: [String]

  @Option(
    help: ArgumentHelp(
      "Format of the candidates: anchors are sliced, others rounded. (default: as stored)", valueName: "format"),
    transform: { try FormatChoice($0) })
  var format: FormatChoice?

  @Option(
    help: ArgumentHelp("Round inputs of linear layers to this format, the start's too.", valueName: "format"),
    transform: { try MXFormat(named: $0) })
  var activations: MXFormat?

  @Option(help: ArgumentHelp("Points of the line, both ends included.", valueName: "n"))
  var points = 11

  @Option(help: ArgumentHelp("Go on along the line as far as t, at most 1.5.", valueName: "t"))
  var beyond = 1.0

  @Option(help: ArgumentHelp(
    "The basin ends where the loss is so many percent above the start's.", valueName: "percent"))
  var basinRise = 1.0

  @Option(help: ArgumentHelp("Tokens in a window. (default: 512, or what the model allows)", valueName: "n"))
  var context: Int?

  @Option(help: ArgumentHelp("Use only the first tokens of the text.", valueName: "n"))
  var maxTokens: Int?

  @Option(help: ArgumentHelp("Also write the object of --json to this file.", valueName: "file"))
  var record: String?

  @OptionGroup var output: OutputOptions

  func validate() throws {
    if !(2...101).contains(points) { throw ValidationError("--points \(points): a line has 2 to 101 points.") }
    if !(beyond >= 1 && beyond <= 1.5) { throw ValidationError("--beyond \(beyond): expected 1 to 1.5.") }
    if !(basinRise >= 0 && basinRise.isFinite) {
      throw ValidationError("--basin-rise \(basinRise): expected a percentage, 0 or more.")
    }
    if let context, context < 2 { throw ValidationError("--context \(context): a window has at least 2 tokens.") }
    if let maxTokens, maxTokens < 2 {
      throw ValidationError("--max-tokens \(maxTokens): at least 2 tokens are needed.")
    }
  }

  func run() throws {
    try SingleProcess.require("compare")
    let start = try ModelSources.open(start, note: output.note)
    let models = try candidates.map { try ModelSources.open($0, note: output.note) }
    for model in models { try Coordinates.requireSame(model, start) }
    if start.coordinates.isReparameterised, ([start] + models).contains(where: { $0.coordinates.fingerprint == nil }) {
      output.note("all models are reparameterised: that it was done alike in all of them cannot be checked")
    }
    let choices = try models.map { try EvaluationFormats.resolve(format.map { [$0] }, for: $0)[0] }
    let limit = start.configuration.contextLimit
    if let context, context > limit {
      throw Refusal(
        "--context \(context): the model \(start.path) attends to \(limit) tokens. Choose at most \(limit).")
    }
    let context = context ?? min(512, limit)
    let tokens = try EvaluationText.tokens(of: text, for: start, models, limit: maxTokens)
    let path = try PathMeasurement(start, tokens: tokens, context: context, activations: activations)

    var measured: [PathMeasurement.Candidate] = []
    for (index, (model, choice)) in zip(models, choices).enumerated() {
      let meter = output.meter("compare \(index + 1) of \(models.count)", unit: "windows")
      measured.append(
        try path.measure(model, as: choice, at: LossLine.places(points, beyond: beyond)) { meter.update($0, of: $1) })
      meter.finish()
    }
    let report = report(path, measured)
    for candidate in report.candidates where candidate.modelDistance > 1 {
      output.note(
        "\(candidate.source) is farther from \(report.start) than that is from 0: hardly the same coordinates")
    }
    if let record {
      try AtomicFile.write(report.json.serialized(order: .given, indent: 2) + [0x0A], to: record)
    }
    try output.print(report.json, report.plain)
  }

  private func report(_ path: PathMeasurement, _ measured: [PathMeasurement.Candidate]) -> PathReport {
    // The same tensors for all: what any of the candidates holds in codes.
    let names = measured.reduce(into: Set<String>()) { $0.formUnion($1.quantized) }
    let tensors = names.isEmpty ? path.linears : names
    let records = zip(candidates, measured).map { source, candidate in
      let basin = candidate.line.basin(exceedingBy: basinRise / 100)
      return PathReport.Candidate(
        source: source, format: candidate.format.description, method: candidate.weights.label,
        bitsPerWeight: candidate.weights.bitsPerWeight, nll: candidate.nll,
        quantizedDistance: candidate.distances.relativeDistance(over: tensors),
        modelDistance: candidate.distances.relativeDistance(),
        localError: candidate.distances.summedRelativeError(over: tensors), outputError: candidate.outputError,
        line: candidate.line.points.map { PathReport.Point(t: $0.t, nll: $0.loss) }, basinEnd: basin.t,
        leavesBasin: basin.isLeft)
    }
    let calibrated = records.filter { $0.outputError != nil }
    return PathReport(
      start: start, startNLL: path.startScore.nll, text: text, context: path.startScore.context,
      tokensScored: path.startScore.tokensScored, activations: activations?.name, tensorCount: tensors.count,
      basinRise: basinRise / 100, candidates: records,
      rankCorrelation: RankCorrelation.spearman(records.map(\.localError), records.map(\.nll)),
      outputRankCorrelation: RankCorrelation.spearman(calibrated.compactMap(\.outputError), calibrated.map(\.nll)))
  }
}

/// Whether weights of two models can be subtracted.
enum Coordinates {
  static func requireSame(_ model: any ModelSource, _ start: any ModelSource) throws {
    let hint =
      "Give a start in the same coordinates: the model it was calibrated or trained from, transformed in the same way."
    let a = model.configuration, b = start.configuration
    if a.tiedHead != b.tiedHead {
      throw Refusal(
        "\(model.path): its head is \(a.tiedHead ? "tied" : "untied"), that of \(start.path) is not. \(hint)")
    }
    if a.transforms != b.transforms {
      throw Refusal("\(model.path): rotates activations while it runs otherwise than \(start.path). \(hint)")
    }
    let (own, other) = (model.coordinates, start.coordinates)
    if own.isReparameterised != other.isReparameterised {
      throw Refusal(
        "\(own.isReparameterised ? model.path : start.path): its weights are reparameterised, those of "
          + "\(own.isReparameterised ? start.path : model.path) are not. \(hint)")
    }
    // A model whose fingerprint nobody has stated gets the benefit of the doubt, and a note.
    if let own = own.fingerprint, let other = other.fingerprint, own != other {
      throw Refusal("\(model.path): its weights are rotated or scaled otherwise than those of \(start.path). \(hint)")
    }
    guard ParameterLayout(a) == ParameterLayout(b) else {
      throw Refusal("\(model.path): its tensors are not those of \(start.path). \(hint)")
    }
    guard a.sameArithmetic(as: b) else {
      throw Refusal("\(model.path): its config.json computes otherwise than that of \(start.path). \(hint)")
    }
  }
}

extension ModelConfiguration {
  /// Whether equal weights are equal functions: heads, norms and rotary embedding are the same.
  fileprivate func sameArithmetic(as other: ModelConfiguration) -> Bool {
    queryHeads == other.queryHeads && keyHeads == other.keyHeads && normEpsilon == other.normEpsilon
      && rotary == other.rotary
  }
}
