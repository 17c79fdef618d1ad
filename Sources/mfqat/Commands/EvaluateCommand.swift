import ArgumentParser
import Checkpoints
import Evaluation
import Formats
import Reports
import Tensors
import Text
import Transformer

/// `--choice-score`.
enum ChoiceRule: String, CaseIterable, ExpressibleByArgument {
  case sum, mean
}

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

      With --against: mean, 99 % quantile (of tokens, within 0.8 %) and maximum of KL(reference || model), and the \
      share of places where both find the same token the most likely.

      --choices FILE holds a question a line: {"prompt": "...", "choices": ["...", "..."], "answer": 0}. The choice \
      whose tokens are the likeliest after the prompt is the answer. Prompt and choice are tokenized together, without \
      a blank between them; where a merge changes the end of the prompt, that end is scored with every choice. Special \
      tokens that the tokenizer puts before a text are put before the prompt. With --against: flips, the share of \
      answers that turned from right to wrong or from wrong to right, and all flips, which count one wrong answer for \
      another, too.
      """)

  @OptionGroup var source: SourceOptions

  @Option(parsing: .upToNextOption, help: ArgumentHelp("Text files, or one token file.", valueName: "file"))
  var text: [String] = []

  @Option(help: ArgumentHelp("Questions to answer, one JSON object a line.", valueName: "file"))
  var choices: String?

  @Option(help: ArgumentHelp(
    "A choice's score: sum or mean of its tokens' log-likelihoods. (default: sum)", valueName: "rule"))
  var choiceScore: ChoiceRule?
  private var rule: ChoiceScorer.Rule { choiceScore == .mean ? .mean : .sum }

  @Option(
    name: .customLong("format"),
    help: ArgumentHelp("Formats to measure, separated by commas; fp32 is as stored.", valueName: "formats"),
    transform: FormatLists.choices)
  var formats: [FormatChoice]?

  @Option(
    help: ArgumentHelp(
      "Round inputs of linear layers to this format; the reference's stay in fp32.", valueName: "format"),
    transform: { try MXFormat(named: $0) })
  var activations: MXFormat?

  @Option(help: ArgumentHelp("Tokens in a window. (default: 512, or what the model allows)", valueName: "n"))
  var context: Int?

  @Option(help: ArgumentHelp("Use only the first tokens of the text.", valueName: "n"))
  var maxTokens: Int?

  @Option(help: ArgumentHelp(
    "Reference model, as stored: adds KL(reference || model), same_top and flips.", valueName: "source"))
  var against: String?

  @Option(help: ArgumentHelp("Windows computed together. (default: as many as make 2048 tokens)", valueName: "n"))
  var batch: Int?

  @OptionGroup var output: OutputOptions

  func validate() throws {
    if text.isEmpty, choices == nil { throw ValidationError("Give --text FILE, or --choices FILE, or both.") }
    if choices == nil, choiceScore != nil { throw ValidationError("--choice-score is for --choices FILE.") }
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
    let formats = try EvaluationFormats.resolve(self.formats, for: model)
    let context = try windowLength(model, reference)
    let batch = batch ?? max(1, 2048 / context)
    let tokens =
      try text.isEmpty
      ? nil : EvaluationText.tokens(of: text, for: model, reference.map { [$0] } ?? [], limit: maxTokens)
    let questions = try choices.map {
      try EvaluationQuestions.load($0, for: model, reference, limit: self.context)
    }
    let sweep = try FormatSweep(
      model, reference: reference, tokens: tokens, context: context, sequences: batch, activations: activations,
      questions: questions ?? [], rule: rule)

    var results: [(label: String, result: EvaluationRecord.Result)] = []
    for format in formats {
      let meter = output.meter("evaluate \(format)", unit: "windows")
      let (label, result) = try sweep.measure(format) { meter.update($0, of: $1) }
      meter.finish()
      results.append((label, result))
    }
    let record = EvaluationRecord(
      source: source.path, text: text, context: context, tokensScored: sweep.tokensScored,
      activations: activations?.name, questions: describe(questions), results: results.map(\.result))
    try output.print(record.json, Self.table(record, labels: results.map(\.label)))
  }

  private func describe(_ questions: [EncodedQuestion]?) -> EvaluationRecord.Questions? {
    guard let choices, let questions else { return nil }
    return EvaluationRecord.Questions(
      file: choices, count: questions.count, rule: rule.rawValue,
      merged: questions.count(where: \.isMerged))
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
    let flips = record.results.contains { $0.choices?.flips != nil }
    func share(_ value: Double?) -> String { value.map { Figures.fixed(100 * $0, 2) + " %" } ?? "-" }
    func nats(_ value: Double?) -> String { value.map { Figures.fixed($0, 5) } ?? "-" }
    var table = TextTable(
      [.init("format"), .init("how"), .init("bits per weight", .right)]
        + (record.text.isEmpty ? [] : [.init("nats per token", .right), .init("perplexity", .right)])
        + (isCompared
          ? [.init("KL", .right), .init("99 %", .right), .init("max", .right), .init("same top", .right)] : [])
        + (record.questions == nil ? [] : [.init("accuracy", .right)])
        + (flips ? [.init("flips", .right), .init("all flips", .right)] : []))
    for (result, label) in zip(record.results, labels) {
      table.add(
        [result.format, label, Figures.fixed(result.bitsPerWeight, 2)]
          + (record.text.isEmpty ? [] : [Figures.fixed(result.nll, 5), Figures.perplexity(result.perplexity)])
          + (isCompared
            ? [nats(result.kl), nats(result.kl99), nats(result.klMaximum), share(result.sameTop)] : [])
          + (record.questions == nil ? [] : [share(result.choices?.accuracy)])
          + (flips ? [share(result.choices?.flips), share(result.choices?.allFlips)] : []))
    }
    var notes: [String] = []
    if !record.text.isEmpty {
      notes.append(
        "\(record.source) on \(record.text.joined(separator: ", ")): \(Figures.grouped(record.tokensScored)) tokens "
          + "scored in windows of \(record.context).")
    }
    if let questions = record.questions {
      let merged = questions.merged == 0 ? "" : " In \(questions.merged) the end of the prompt is scored, too."
      notes.append(
        "\(questions.file): \(Figures.grouped(questions.count)) questions, choices scored by the \(questions.rule) of "
          + "their tokens' log-likelihoods.\(merged)")
    }
    if let activations = record.activations { notes.append("Inputs of linear layers are rounded to \(activations).") }
    return table.plain + "\n" + notes.joined(separator: "\n") + "\n"
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
