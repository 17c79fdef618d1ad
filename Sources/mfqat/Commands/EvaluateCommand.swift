import ArgumentParser
import Checkpoints
import Evaluation
import Formats
import Reports
import Tensors
import Text
import Transformer

/// `mfqat evaluate`: perplexity of a text in many formats.
struct EvaluateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluate",
    abstract: "Measure perplexity, and the distance to a reference, in one format or many.",
    discussion: """
      Protocol: the text is tokenized as one stream without special tokens and cut into consecutive windows of \
      --context tokens, the rest dropped; in each window every token but the first is scored. Without --format a dense \
      model is measured as it is stored (fp32), an anchor in its own format. A lower format is sliced from an anchor, \
      and rounded directly from a dense model. Bits per weight are those of the quantized tensors, their scales \
      included.
      """)

  @OptionGroup var source: SourceOptions

  @Option(parsing: .upToNextOption, help: ArgumentHelp("Text files, or one token file.", valueName: "file"))
  var text: [String]

  @Option(
    name: .customLong("format"),
    help: ArgumentHelp("Formats to measure, separated by commas; fp32 is as stored.", valueName: "formats"),
    transform: FormatLists.choices)
  var formats: [FormatChoice]?

  @Option(help: ArgumentHelp("Tokens in a window. (default: 512, or what the model allows)", valueName: "n"))
  var context: Int?

  @Option(help: ArgumentHelp("Use only the first tokens of the text.", valueName: "n"))
  var maxTokens: Int?

  @Option(help: ArgumentHelp(
    "Reference model, as stored: adds KL(reference || model) and same_top.", valueName: "source"))
  var against: String?

  @Option(help: ArgumentHelp("Windows computed together. (default: as many as make 2048 tokens)", valueName: "n"))
  var batch: Int?

  @OptionGroup var output: OutputOptions

  func validate() throws {
    if let context, context < 2 { throw ValidationError("--context \(context): a window has at least 2 tokens.") }
    if let batch, batch < 1 { throw ValidationError("--batch \(batch): at least one window is computed.") }
    if let maxTokens, maxTokens < 2 {
      throw ValidationError("--max-tokens \(maxTokens): at least 2 tokens are needed.")
    }
  }

  func run() throws {
    try SingleProcess.require("evaluate")
    let model = try source.open(output)
    let reference = try against.map { try ModelSources.open($0, note: output.note) }
    let choices = try EvaluationFormats.resolve(formats, for: model)
    let context = try windowLength(model, reference)
    let tokens = try EvaluationText.tokens(of: text, for: model, reference, limit: maxTokens)
    let sweep = try FormatSweep(
      model, reference: reference, tokens: tokens, context: context, sequences: batch ?? max(1, 2048 / context))

    var results: [(label: String, result: EvaluationRecord.Result)] = []
    for choice in choices {
      let meter = output.meter("evaluate \(choice)", unit: "windows")
      let (label, result) = try sweep.measure(choice) { meter.update($0, of: $1) }
      meter.finish()
      results.append((label, result))
    }
    let record = EvaluationRecord(
      source: source.path, text: text, context: context, tokensScored: sweep.tokensScored,
      results: results.map(\.result))
    try output.print(record.json, Self.table(record, labels: results.map(\.label)))
  }

  /// Tokens of a window: as asked for, refused where a model cannot.
  private func windowLength(_ model: any ModelSource, _ reference: (any ModelSource)?) throws -> Int {
    let models = [model] + (reference.map { [$0] } ?? [])
    for model in models {
      let limit = model.configuration.contextLimit
      if let context, context > limit {
        throw Refusal(
          "--context \(context): the model \(model.path) attends to \(limit) tokens. Choose at most \(limit).")
      }
    }
    return context ?? models.map(\.configuration.contextLimit).reduce(512, min)
  }

  private static func table(_ record: EvaluationRecord, labels: [String]) -> String {
    let isCompared = record.results.contains { $0.kl != nil }
    var table = TextTable(
      [
        .init("format"), .init("how"), .init("bits per weight", .right), .init("nats per token", .right),
        .init("perplexity", .right),
      ] + (isCompared ? [.init("KL", .right), .init("same top", .right)] : []))
    for (result, label) in zip(record.results, labels) {
      let compared = [
        result.kl.map { Figures.fixed($0, 5) } ?? "-", result.sameTop.map { Figures.fixed(100 * $0, 2) + " %" } ?? "-",
      ]
      table.add(
        [
          result.format, label, Figures.fixed(result.bitsPerWeight, 2), Figures.fixed(result.nll, 5),
          Figures.perplexity(result.perplexity),
        ] + (isCompared ? compared : []))
    }
    return table.plain + """

      \(record.source) on \(record.text.joined(separator: ", ")): \(Figures.grouped(record.tokensScored)) tokens \
      scored in windows of \(record.context).

      """
  }
}

/// The formats of a sweep.
enum EvaluationFormats {
  /// What was asked for, `fp32` first; checked before the first is measured.
  static func resolve(_ asked: [FormatChoice]?, for model: any ModelSource) throws -> [FormatChoice] {
    guard let anchor = model as? AnchorModel else {
      let choices = (asked ?? [.fullPrecision]).map { $0 == .stored ? .fullPrecision : $0 }
      return choices.filter { $0 == .fullPrecision } + choices.filter { $0 != .fullPrecision }
    }
    let own = anchor.mix.isMixed ? FormatChoice.stored : .block(anchor.mix.dominant ?? anchor.format)
    let choices = (asked ?? [own]).map { $0 == .stored ? own : $0 }
    for choice in choices {
      switch choice {
      case .stored: break
      case .block(let format): _ = try anchor.slice(to: format)
      case .fullPrecision:
        let possible = anchor.formatsThatCanBeCut.map(\.name).joined(separator: ", ")
        throw Refusal(
          "\(anchor.path): an anchor has no fp32 weights, its own format is \(anchor.mix). Leave --format out for that"
            + (possible.isEmpty ? "." : ", or name some of \(possible)."))
      }
    }
    return choices
  }
}
