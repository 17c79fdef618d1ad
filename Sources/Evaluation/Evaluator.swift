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
  /// Windows of a batch.
  public var sequences: Int { space.sequences }
  private let space: Workspace
  private let other: Workspace?
  private let arena = Arena("evaluation")
  private var kl: HostBuffer<Double>
  private var sameTop: HostBuffer<UInt8>

  /// - Parameters:
  ///   - sequences: windows that run together; a figure does not depend on it beyond rounding.
  ///   - compares: lay out memory for a second model.
  ///   - activationFormat: inputs of the model's linear layers are rounded to it; the reference's are not.
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

  /// Whole windows of a text.
  public func windowCount(of tokens: [Int32]) -> Int { tokens.count / context }

  /// Scores all whole windows of `tokens`, or the first `maximumWindows`.
  ///
  /// - Parameter progress: called after each batch with (windows done, windows in all).
  public func score(
    _ parameters: Parameters, tokens: [Int32], reference: Parameters? = nil, maximumWindows: Int? = nil,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(EvaluationError) -> Score {
    var score = Score(context: context)
    let windows = min(windowCount(of: tokens), maximumWindows ?? .max)
    try forEachWindow(parameters, tokens, Array(0..<max(0, windows)), reference, progress) { score.add($0) }
    return score
  }

  /// Scores some windows: a rank's share of a text. `Score(context:windows:)` puts the shares together.
  ///
  /// A window's bits depend on its place in a batch, and that is its index modulo `sequences`: evaluators with equal
  /// `sequences` give a window the same bits wherever it is scored. A batch costs the same however few of its windows
  /// are asked for, so shares should be whole batches: runs of `sequences` windows that begin at a multiple of it.
  ///
  /// - Parameter windows: ascending, below `windowCount(of:)`.
  public func score(
    _ parameters: Parameters, tokens: [Int32], windows: some Sequence<Int>, reference: Parameters? = nil,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(EvaluationError) -> [WindowScore] {
    let windows = Array(windows)
    guard !windows.isEmpty else { return [] }
    precondition(windows[0] >= 0 && windows[windows.count - 1] < windowCount(of: tokens)
      && zip(windows, windows.dropFirst()).allSatisfy { $0 < $1 }, "windows \(windows) of \(windowCount(of: tokens))")
    var scores: [WindowScore] = []
    try forEachWindow(parameters, tokens, windows, reference, progress) { scores.append($0) }
    return scores
  }

  private func forEachWindow(
    _ parameters: Parameters, _ tokens: [Int32], _ windows: [Int], _ reference: Parameters?,
    _ progress: (Int, Int) -> Void, _ body: (WindowScore) -> Void
  ) throws(EvaluationError) {
    guard !windows.isEmpty else { throw EvaluationError.tooFewTokens(found: tokens.count, needed: context) }
    let vocabulary = parameters.configuration.vocabularySize
    for window in windows {
      for position in window * context..<(window + 1) * context
      where tokens[position] < 0 || tokens[position] >= vocabulary {
        throw EvaluationError.unknownToken(id: tokens[position], position: position, vocabulary: vocabulary)
      }
    }
    precondition((reference == nil) == (other == nil), "a reference model needs memory laid out for it, and only then")
    var done = 0
    while done < windows.count {
      let batch = windows[done] / space.sequences
      let members = windows[done...].prefix { $0 / space.sequences == batch }
      fill(from: tokens, members)
      DecoderModel.loss(parameters, space)
      if let reference, let other { compare(parameters, with: reference, other) }
      for window in members { body(score(of: window)) }
      done += members.count
      progress(done, windows.count)
    }
  }

  // Places whose window is not asked for repeat the first one without targets: the shape, and with it every sum's
  // order, stays.
  private func fill(from tokens: [Int32], _ windows: ArraySlice<Int>) {
    let first = windows[windows.startIndex]
    for place in 0..<space.sequences {
      let own = first / space.sequences * space.sequences + place
      let isAsked = windows.contains(own)
      let start = (isAsked ? own : first) * context
      for t in 0..<context {
        space.ids[place * context + t] = tokens[start + t]
        let scored = isAsked && t + 1 < context
        space.targets[place * context + t] = scored ? tokens[start + t + 1] : -1
      }
    }
  }

  private func compare(_ candidate: Parameters, with reference: Parameters, _ other: Workspace) {
    other.ids.copy(from: space.ids)
    DecoderModel.forward(reference, other)
    space.head.compare(
      kl: &kl, sameTop: &sameTop, reference: other.hidden, referenceWeight: reference.head, candidate: space.hidden,
      candidateWeight: candidate.head, logits: &space.logits, otherLogits: &other.logits)
  }

  private func score(of window: Int) -> WindowScore {
    let start = window % space.sequences * context, end = start + context
    var loss = 0.0
    for t in start..<end { loss += space.loss[t] }
    guard other != nil else {
      return WindowScore(window: window, negativeLogLikelihood: loss, divergences: [], sameTopCount: 0)
    }
    return WindowScore(
      window: window, negativeLogLikelihood: loss, divergences: (start..<end - 1).map { kl[$0] },
      sameTopCount: (start..<end - 1).reduce(0) { $0 + Int(sameTop[$1]) })
  }
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
