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
  private let evaluator: Evaluator
  private let arena = Arena("format sweep")
  private(set) var tokensScored = 0

  init(
    _ model: any ModelSource, reference: (any ModelSource)?, tokens: [Int32], context: Int, sequences: Int
  ) throws {
    self.model = model
    self.tokens = tokens
    parameters = Parameters(model.configuration, in: arena)
    self.reference = try reference.map { [arena] source in
      let parameters = Parameters(source.configuration, in: arena)
      try source.load(into: parameters, as: nil)
      return parameters
    }
    guard tokens.count >= context else {
      throw EvaluationError.tooFewTokens(found: tokens.count, needed: context)
    }
    evaluator = try Evaluator(
      model.configuration, context: context, sequences: min(sequences, tokens.count / context),
      comparesWith: reference?.configuration)
  }

  /// - Returns: how the weights came about, and the figures.
  func measure(
    _ choice: FormatChoice, progress: (Int, Int) -> Void
  ) throws -> (label: String, result: EvaluationRecord.Result) {
    let weights = try model.load(into: parameters, as: choice.block)
    let score = try evaluator.score(parameters, tokens: tokens, reference: reference, progress: progress)
    tokensScored = score.tokensScored
    return (
      weights.label,
      EvaluationRecord.Result(
        format: choice == .stored ? weights.name : choice.description,
        nll: score.nll, bitsPerWeight: weights.bitsPerWeight, kl: score.kl,
        sameTop: score.sameTop)
    )
  }
}

/// The text of an evaluation as tokens.
enum EvaluationText {
  /// - Parameters:
  ///   - paths: text files, or one token file made with the model's tokenizer.
  ///   - limit: so many tokens from the start.
  static func tokens(
    of paths: [String], for model: any ModelSource, _ reference: (any ModelSource)?, limit: Int?
  ) throws -> [Int32] {
    let tokenizer = try model.tokenizer()
    let other = try reference?.tokenizer()
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
      if let other, other.contentHash != tokenizer.contentHash {
        throw Refusal(
          "\(other.source): differs from \(tokenizer.source), and a token file does not show whether they agree. "
            + "Give the text itself.")
      }
    } else {
      let text = try TextSource.load(paths)
      ids = try tokenizer.encode(utf8: text.utf8)
      if let other, other.contentHash != tokenizer.contentHash, try other.encode(utf8: text.utf8) != ids {
        throw Refusal(
          "\(other.source): tokenizes the text otherwise than \(tokenizer.source). Distances need the same tokens.")
      }
    }
    if let limit { ids = Array(ids.prefix(limit)) }
    try model.require(ids, from: tokenizer)
    if let reference, reference.configuration.vocabularySize != model.configuration.vocabularySize {
      throw Refusal(
        "\(reference.path): \(reference.configuration.vocabularySize) tokens, \(model.path) has "
          + "\(model.configuration.vocabularySize). Distances need the same vocabulary.")
    }
    return ids
  }
}
