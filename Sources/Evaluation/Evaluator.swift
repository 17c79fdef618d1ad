public import Formats
import Kernels
import Tensors
public import Transformer

/// Scores text with a model: mean negative log-likelihood, and distances to a reference model.
///
/// Protocol: the text is one stream of tokens, cut into consecutive windows of `context`; the rest is dropped. In each
/// window every token but the first is scored. Losses are summed in double: inside a window in order, windows in order.
public final class Evaluator {
  public let context: Int
  private let space: Workspace
  private let other: Workspace?
  private let arena = Arena("evaluation")
  private var kl: HostBuffer<Double>
  private var sameTop: HostBuffer<UInt8>

  /// - Parameters:
  ///   - sequences: windows that run together; a figure does not depend on it beyond rounding.
  ///   - compares: lay out memory for a second model.
  ///   - activationFormat: inputs of linear layers are rounded to it.
  /// - Throws: `EvaluationError` for a context that leaves nothing to score, `ModelError` for one the model cannot hold.
  public init(
    _ configuration: ModelConfiguration, context: Int, sequences: Int, comparesWith reference: ModelConfiguration? = nil,
    activationFormat: MXFormat? = nil
  ) throws {
    guard context >= 2 else { throw EvaluationError.contextTooShort(context) }
    self.context = context
    space = try Workspace(
      configuration, sequences: sequences, length: context, purpose: .inference, activationFormat: activationFormat,
      in: arena)
    other = try reference.map { [arena] in
      try Workspace($0, sequences: sequences, length: context, purpose: .inference, in: arena)
    }
    kl = HostBuffer(count: sequences * context, in: arena)
    sameTop = HostBuffer(count: sequences * context, in: arena)
  }

  /// Scores all whole windows of `tokens`, or the first `maximumWindows`.
  ///
  /// - Parameter progress: called after each batch with (windows done, windows in all).
  public func score(
    _ parameters: Parameters, tokens: [Int32], reference: Parameters? = nil, maximumWindows: Int? = nil,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(EvaluationError) -> Score {
    let windows = min(tokens.count / context, maximumWindows ?? .max)
    guard windows > 0 else {
      throw EvaluationError.tooFewTokens(found: tokens.count, needed: context)
    }
    let vocabulary = parameters.configuration.vocabularySize
    for position in 0..<windows * context where tokens[position] < 0 || tokens[position] >= vocabulary {
      throw EvaluationError.unknownToken(id: tokens[position], position: position, vocabulary: vocabulary)
    }
    precondition((reference == nil) == (other == nil), "a reference model needs memory laid out for it, and only then")
    var score = Score(windows: windows, context: context)
    for first in stride(from: 0, to: windows, by: space.sequences) {
      let count = min(space.sequences, windows - first)
      fill(from: tokens, first: first, count: count)
      DecoderModel.loss(parameters, space)
      for window in 0..<count {
        var sum = 0.0
        for t in window * context..<(window + 1) * context { sum += space.loss[t] }
        score.negativeLogLikelihood += sum
      }
      if let reference, let other {
        compare(parameters, with: reference, other, count: count, into: &score)
      }
      progress(first + count, windows)
    }
    return score
  }

  // A short last batch repeats its first window without targets: the shape, and with it every sum's order, stays.
  private func fill(from tokens: [Int32], first: Int, count: Int) {
    for window in 0..<space.sequences {
      let start = (first + (window < count ? window : 0)) * context
      for t in 0..<context {
        space.ids[window * context + t] = tokens[start + t]
        let scored = window < count && t + 1 < context
        space.targets[window * context + t] = scored ? tokens[start + t + 1] : -1
      }
    }
  }

  private func compare(
    _ candidate: Parameters, with reference: Parameters, _ other: Workspace, count: Int, into score: inout Score
  ) {
    other.ids.copy(from: space.ids)
    DecoderModel.forward(reference, other)
    space.head.compare(
      kl: &kl, sameTop: &sameTop, reference: other.hidden, referenceWeight: reference.head, candidate: space.hidden,
      candidateWeight: candidate.head, logits: &space.logits, otherLogits: &other.logits)
    for window in 0..<count {
      for t in window * context..<(window + 1) * context - 1 {
        score.divergence += kl[t]
        score.sameTopCount += Int(sameTop[t])
      }
    }
    score.isCompared = true
  }
}

/// Sums over scored tokens, and the figures they give.
public struct Score: Sendable, Hashable {
  public let windows: Int
  public let context: Int
  public var negativeLogLikelihood = 0.0
  public var divergence = 0.0
  public var sameTopCount = 0
  public var isCompared = false

  init(windows: Int, context: Int) {
    self.windows = windows
    self.context = context
  }

  public var tokensScored: Int { windows * (context - 1) }
  /// Mean nats a token.
  public var nll: Double { negativeLogLikelihood / Double(tokensScored) }
  /// Mean KL(reference ‖ model) in nats a token.
  public var kl: Double? { isCompared ? divergence / Double(tokensScored) : nil }
  /// Share of positions whose most likely token is the reference's.
  public var sameTop: Double? { isCompared ? Double(sameTopCount) / Double(tokensScored) : nil }
}

public enum EvaluationError: Error, Sendable, CustomStringConvertible {
  case tooFewTokens(found: Int, needed: Int)
  case contextTooShort(Int)
  case unknownToken(id: Int32, position: Int, vocabulary: Int)

  public var description: String {
    switch self {
    case .tooFewTokens(let found, let needed):
      "the text has \(found) tokens, one window needs \(needed). Give more text or a smaller --context."
    case .contextTooShort(let context):
      "a context of \(context) leaves nothing to score: the first token of a window has no prediction. Choose 2 or more."
    case .unknownToken(let id, let position, let vocabulary):
      "token \(position) of the text is \(id), the model knows ids below \(vocabulary). Use the model's own tokenizer."
    }
  }
}
