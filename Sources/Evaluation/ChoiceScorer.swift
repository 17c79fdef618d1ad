public import Formats
import Tensors
public import Transformer

/// Answers questions with a model: the choice whose tokens are the likeliest after what is given.
///
/// Memory: one workspace of `sequences` rows as long as the longest of the questions, laid out once.
public final class ChoiceScorer {
  /// How the log-likelihoods of a choice's tokens become its score.
  public enum Rule: String, Sendable, Hashable, CaseIterable {
    /// Their sum: the likelihood of the text.
    case sum
    /// Their mean: does not favour short choices.
    case mean
  }

  public let questions: [EncodedQuestion]
  private let space: Workspace
  private let arena = Arena("choices")

  /// - Parameters:
  ///   - tokens: rows that run together have about so many.
  ///   - activationFormat: inputs of linear layers are rounded to it.
  /// - Precondition: at least one question.
  public init(
    _ configuration: ModelConfiguration, questions: [EncodedQuestion], tokens: Int = 2048,
    activationFormat: MXFormat? = nil
  ) throws(ModelError) {
    let rows = questions.flatMap(\.rows)
    guard let longest = rows.map(\.count).max() else { preconditionFailure("no questions") }
    self.questions = questions
    // The last token of a row is scored, never read.
    space = try Workspace(
      configuration, sequences: min(rows.count, max(1, tokens / longest)), length: longest - 1, purpose: .inference,
      activationFormat: activationFormat, in: arena)
  }

  /// Log-likelihoods in nats of every choice of every question.
  ///
  /// - Parameter progress: called after each batch with (rows done, rows in all).
  public func logLikelihoods(
    _ parameters: Parameters, by rule: Rule = .sum, progress: (Int, Int) -> Void = { _, _ in }
  ) -> [[Double]] {
    let rows = questions.flatMap { question in question.rows.map { (tokens: $0, given: question.given) } }
    var scores: [Double] = []
    while scores.count < rows.count {
      let batch = rows[scores.count...].prefix(space.sequences)
      for place in 0..<space.sequences {
        fill(place, batch[batch.startIndex + min(place, batch.count - 1)])
      }
      DecoderModel.loss(parameters, space)
      for (place, row) in batch.enumerated() {
        var sum = 0.0
        for t in place * space.length..<place * space.length + row.tokens.count - 1 { sum -= space.loss[t] }
        scores.append(rule == .sum ? sum : sum / Double(row.tokens.count - row.given))
      }
      progress(scores.count, rows.count)
    }
    var rest = scores[...]
    return questions.map { question in
      defer { rest = rest.dropFirst(question.rows.count) }
      return Array(rest.prefix(question.rows.count))
    }
  }

  public func score(
    _ parameters: Parameters, by rule: Rule = .sum, progress: (Int, Int) -> Void = { _, _ in }
  ) -> ChoiceScore {
    ChoiceScore(logLikelihoods(parameters, by: rule, progress: progress), answers: questions.map(\.answer))
  }

  // Attention looks back only: what stands behind a row changes nothing in it.
  private func fill(_ place: Int, _ row: (tokens: [Int32], given: Int)) {
    for t in 0..<space.length {
      let index = place * space.length + t, next = t + 1
      space.ids[index] = row.tokens[min(t, row.tokens.count - 1)]
      space.targets[index] = next >= row.given && next < row.tokens.count ? row.tokens[next] : -1
    }
  }
}

/// What a model chose, question by question.
public struct ChoiceScore: Sendable, Hashable {
  /// The first of the likeliest; nil where a likelihood is no number, which is never right.
  public let picks: [Int?]
  public let answers: [Int]

  /// - Parameter likelihoods: of every choice of every question, in any measure.
  public init(_ likelihoods: [[Double]], answers: [Int]) {
    precondition(likelihoods.count == answers.count, "\(likelihoods.count) questions, \(answers.count) answers")
    picks = likelihoods.map { scores in
      scores.contains(where: \.isNaN) ? nil : scores.firstIndex(of: scores.max() ?? 0)
    }
    self.answers = answers
  }

  public var correct: Int { zip(picks, answers).count { $0 == $1 } }
  /// Share of right picks.
  public var accuracy: Double { Double(correct) / Double(picks.count) }

  /// What changed from `reference` to this model. The same questions on both sides.
  public func flips(from reference: ChoiceScore) -> Flips {
    precondition(reference.answers == answers, "flips between two sets of questions")
    var flips = Flips(questions: picks.count)
    for ((was, now), answer) in zip(zip(reference.picks, picks), answers) where was != now {
      if was == answer {
        flips.correctToIncorrect += 1
      } else if now == answer {
        flips.incorrectToCorrect += 1
      } else {
        flips.incorrectToOther += 1
      }
    }
    return flips
  }
}

/// Answers that differ from the reference's (Dutta et al., "Accuracy is Not All You Need", arXiv 2407.09141): they show
/// damage that an equal accuracy hides.
public struct Flips: Sendable, Hashable {
  public let questions: Int
  public internal(set) var correctToIncorrect = 0
  public internal(set) var incorrectToCorrect = 0
  /// From one wrong answer to another.
  public internal(set) var incorrectToOther = 0

  init(questions: Int) { self.questions = questions }

  /// Share of questions whose correctness changed.
  public var flips: Double { Double(correctToIncorrect + incorrectToCorrect) / Double(questions) }
  /// Share of questions whose answer changed.
  public var allFlips: Double {
    Double(correctToIncorrect + incorrectToCorrect + incorrectToOther) / Double(questions)
  }
}
