import Checkpoints

extension EvaluationRecord {
  /// The questions of an evaluation.
  public struct Questions: Sendable, Equatable {
    public var file: String
    public var count: Int
    /// `sum` or `mean`: how the log-likelihoods of a choice's tokens become its score.
    public var rule: String
    /// Questions some tokens of whose prompt are scored with the choices, since a merge reaches over the seam.
    public var merged: Int

    public init(file: String, count: Int, rule: String, merged: Int) {
      self.file = file
      self.count = count
      self.rule = rule
      self.merged = merged
    }

    var json: JSONValue {
      [
        "file": .string(file), "questions": .integer(count), "score": .string(rule), "merged_prompts": .integer(merged),
      ]
    }

    init?(_ value: JSONValue) {
      guard let file = value["file"]?.string, let count = value["questions"]?.integer else { return nil }
      self.init(
        file: file, count: count, rule: value["score"]?.string ?? "sum", merged: value["merged_prompts"]?.integer ?? 0)
    }
  }

  /// How one format answered.
  public struct ChoiceFigures: Sendable, Equatable {
    /// Share of right answers.
    public var accuracy: Double
    /// Shares of questions; nil without a reference.
    public var flips: Double?
    public var allFlips: Double?
    /// The questions behind `flips`.
    public var correctToIncorrect: Int?
    public var incorrectToCorrect: Int?

    public init(
      accuracy: Double, flips: Double? = nil, allFlips: Double? = nil, correctToIncorrect: Int? = nil,
      incorrectToCorrect: Int? = nil
    ) {
      self.accuracy = accuracy
      self.flips = flips
      self.allFlips = allFlips
      self.correctToIncorrect = correctToIncorrect
      self.incorrectToCorrect = incorrectToCorrect
    }

    var json: JSONValue {
      [
        "accuracy": EvaluationRecord.number(accuracy), "flips": EvaluationRecord.number(flips),
        "all_flips": EvaluationRecord.number(allFlips),
        "correct_to_incorrect": correctToIncorrect.map { .integer($0) } ?? .null,
        "incorrect_to_correct": incorrectToCorrect.map { .integer($0) } ?? .null,
      ]
    }

    init?(_ value: JSONValue) {
      guard let accuracy = value["accuracy"]?.double else { return nil }
      self.init(
        accuracy: accuracy, flips: value["flips"]?.double, allFlips: value["all_flips"]?.double,
        correctToIncorrect: value["correct_to_incorrect"]?.integer,
        incorrectToCorrect: value["incorrect_to_correct"]?.integer)
    }
  }
}
