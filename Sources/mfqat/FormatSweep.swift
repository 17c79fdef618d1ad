import Evaluation
import Formats
import Quantization
import Reports
import Tensors
import Text
import Transformer

/// One model measured in several formats: weights are read from the source for each, into the same memory.
final class FormatSweep {
  private let model: any ModelSource
  private let tokens: [Int32]
  private let parameters: Parameters
  private let reference: Parameters?
  private let evaluator: Evaluator?
  private let chooser: ChoiceScorer?
  private let rule: ChoiceScorer.Rule
  private let referenceChoices: ChoiceScore?
  private let arena = Arena("format sweep")
  private(set) var tokensScored = 0

  /// - Parameters:
  ///   - tokens: of the text; nil for questions alone.
  ///   - activations: inputs of the model's linear layers are rounded to it, never those of the reference's.
  ///   - questions: to answer, by `rule`.
  init(
    _ model: any ModelSource, reference: (any ModelSource)?, tokens: [Int32]?, context: Int, sequences: Int,
    activations: MXFormat? = nil, questions: [EncodedQuestion] = [], rule: ChoiceScorer.Rule = .sum
  ) throws {
    self.model = model
    self.tokens = tokens ?? []
    self.rule = rule
    parameters = Parameters(model.configuration, in: arena)
    self.reference = try reference.map { [arena] source in
      let parameters = Parameters(source.configuration, in: arena)
      try source.load(into: parameters, as: nil)
      return parameters
    }
    evaluator = try tokens.map { tokens in
      guard tokens.count >= context else {
        throw EvaluationError.tooFewTokens(found: tokens.count, needed: context)
      }
      return try Evaluator(
        model.configuration, context: context, sequences: min(sequences, tokens.count / context),
        comparesWith: reference?.configuration, activationFormat: activations)
    }
    chooser =
      try questions.isEmpty
      ? nil
      : ChoiceScorer(
        model.configuration, questions: questions, tokens: sequences * context, activationFormat: activations)
    referenceChoices = try self.reference.flatMap { reference in
      guard !questions.isEmpty else { return nil }
      return try ChoiceScorer(reference.configuration, questions: questions, tokens: sequences * context)
        .score(reference, by: rule)
    }
  }

  /// - Returns: how the weights came about, and the figures.
  func measure(
    _ choice: FormatChoice, progress: (Int, Int) -> Void
  ) throws -> (label: String, result: EvaluationRecord.Result) {
    let weights = try model.load(into: parameters, as: choice.block)
    let score = try evaluator?.score(parameters, tokens: tokens, reference: reference, progress: progress)
    tokensScored = score?.tokensScored ?? 0
    return (
      weights.label,
      EvaluationRecord.Result(
        format: choice == .stored ? weights.name : choice.description, nll: score?.nll ?? .nan,
        bitsPerWeight: weights.bitsPerWeight, kl: score?.kl, sameTop: score?.sameTop, kl99: score?.kl99,
        klMaximum: score?.klMaximum, choices: answers())
    )
  }

  private func answers() -> EvaluationRecord.ChoiceFigures? {
    guard let score = chooser?.score(parameters, by: rule) else { return nil }
    let flips = referenceChoices.map { score.flips(from: $0) }
    return EvaluationRecord.ChoiceFigures(
      accuracy: score.accuracy, flips: flips?.flips, allFlips: flips?.allFlips,
      correctToIncorrect: flips?.correctToIncorrect, incorrectToCorrect: flips?.incorrectToCorrect)
  }
}

/// The questions of an evaluation as tokens.
enum EvaluationQuestions {
  /// - Parameter limit: tokens of a prompt with a choice at most; nil for what the models attend to.
  static func load(
    _ path: String, for model: any ModelSource, _ reference: (any ModelSource)?, limit: Int?
  ) throws -> [EncodedQuestion] {
    let tokenizer = try model.tokenizer()
    let models = [model] + (reference.map { [$0] } ?? [])
    let limit = limit ?? models.map(\.configuration.contextLimit).reduce(.max, min)
    let other = try reference.flatMap { reference in
      let other = try reference.tokenizer()
      return other.contentHash == tokenizer.contentHash ? nil : other
    }
    return try ChoiceQuestion.load(path).enumerated().map { index, question in
      func encoded(_ tokenizer: Tokenizer, _ model: any ModelSource) throws -> EncodedQuestion {
        try EncodedQuestion(
          question, tokenizer, beginToken: model.configuration.beginToken, limit: limit,
          place: "\(path), question \(index + 1)")
      }
      let own = try encoded(tokenizer, model)
      for row in own.rows { try model.require(row, from: tokenizer) }
      if let other, let reference, try encoded(other, reference) != own {
        throw Refusal(
          "\(other.source): tokenizes question \(index + 1) of \(path) otherwise than \(tokenizer.source). Flips need "
            + "the same tokens.")
      }
      return own
    }
  }
}

/// The text of an evaluation as tokens.
enum EvaluationText {
  /// - Parameters:
  ///   - paths: text files, or one token file made with the model's tokenizer.
  ///   - others: models that read the same tokens.
  ///   - limit: so many tokens from the start.
  static func tokens(
    of paths: [String], for model: any ModelSource, _ others: [any ModelSource], limit: Int?
  ) throws -> [Int32] {
    let tokenizer = try model.tokenizer()
    // Files that are byte for byte the same give the same tokens.
    let foreign = try others.map { try $0.tokenizer() }.filter { $0.contentHash != tokenizer.contentHash }
    var ids: [Int32]
    if paths.count == 1, PathContents.isTokenFile(paths[0]) {
      let file = try TokenFile(paths[0])
      guard file.tokenizerHash == tokenizer.contentHash else {
        throw Refusal(
          "\(paths[0]): made with another tokenizer than \(tokenizer.source). Prepare the text again with --model "
            + "\(model.path).")
      }
      try file.verify()
      ids = (0..<file.count).map { file[$0] }
      if let other = foreign.first {
        throw Refusal(
          "\(other.source): differs from \(tokenizer.source), and a token file does not show whether they agree. "
            + "Give the text itself.")
      }
    } else {
      let text = try TextSource.load(paths)
      ids = try tokenizer.encode(utf8: text.utf8)
      for other in foreign where try other.encode(utf8: text.utf8) != ids {
        throw Refusal(
          "\(other.source): tokenizes the text otherwise than \(tokenizer.source). Distances need the same tokens.")
      }
    }
    if let limit { ids = Array(ids.prefix(limit)) }
    try model.require(ids, from: tokenizer)
    for other in others where other.configuration.vocabularySize != model.configuration.vocabularySize {
      throw Refusal(
        "\(other.path): \(other.configuration.vocabularySize) tokens, \(model.path) has "
          + "\(model.configuration.vocabularySize). Distances need the same vocabulary.")
    }
    return ids
  }
}
