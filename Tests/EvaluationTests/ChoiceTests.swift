import Checkpoints
import Evaluation
import Foundation
import Tensors
import Testing
import Text
import Transformer

/// Answers of a small random model, against likelihoods summed from its logits.
@Suite struct ChoiceTests {
  private let arena = Arena("test")

  /// Choices of different lengths after prompts of different lengths.
  private static let questions: [EncodedQuestion] = (0..<7).map { index in
    let given = 1 + index % 4
    let prompt = SmallModel.tokens(given, seed: UInt64(100 + index))
    let rows = (0..<2 + index % 3).map { choice in
      prompt + SmallModel.tokens(1 + (choice + index) % 5, seed: UInt64(200 + 10 * index + choice))
    }
    return EncodedQuestion(rows: rows, given: given, answer: index % 2)
  }

  private func expected(_ model: SmallModel, _ rule: ChoiceScorer.Rule) throws -> [[Double]] {
    try Self.questions.map { question in
      try question.rows.map { row in
        let logits = try model.logits(row)
        let sum = (question.given..<row.count).reduce(0.0) { $0 + logSoftmax(logits[$1 - 1])[Int(row[$1])] }
        return rule == .sum ? sum : sum / Double(row.count - question.given)
      }
    }
  }

  @Test(arguments: [1, 20, 2048], ChoiceScorer.Rule.allCases)
  func logLikelihoods(tokens: Int, rule: ChoiceScorer.Rule) throws {
    let model = try SmallModel(seed: 1, in: arena)
    let scorer = try ChoiceScorer(model.configuration, questions: Self.questions, tokens: tokens)
    var reports: [Int] = []
    let found = scorer.logLikelihoods(model.parameters, by: rule) { done, _ in reports.append(done) }
    let wanted = try expected(model, rule)
    #expect(found.map(\.count) == wanted.map(\.count))
    for (found, wanted) in zip(found.joined(), wanted.joined()) { #expect(abs(found - wanted) < 1e-4) }
    #expect(reports.last == wanted.joined().count)
    let picks = wanted.map { row in row.firstIndex(of: row.max()!) }
    #expect(scorer.score(model.parameters, by: rule).picks == picks)
  }

  @Test func flipsBetweenTwoModels() throws {
    let model = try SmallModel(seed: 1, in: arena), other = try SmallModel(seed: 2, in: arena)
    let scorer = try ChoiceScorer(model.configuration, questions: Self.questions)
    let reference = scorer.score(model.parameters), score = scorer.score(other.parameters)
    let pairs = Self.questions.indices.map { (reference.picks[$0], score.picks[$0], score.answers[$0]) }
    let flips = score.flips(from: reference)
    #expect(flips.correctToIncorrect == pairs.count { $0.0 == $0.2 && $0.1 != $0.2 })
    #expect(flips.incorrectToCorrect == pairs.count { $0.0 != $0.2 && $0.1 == $0.2 })
    #expect(flips.allFlips == Double(pairs.count { $0.0 != $0.1 }) / 7)
    let none = reference.flips(from: reference)
    #expect(none.flips == 0 && none.allFlips == 0)
  }

  /// Four of six answers change at the same accuracy: right to wrong, wrong to right, wrong to other wrong twice.
  @Test func anEqualAccuracyHidesFlips() {
    func one(_ pick: Int) -> [Double] { (0..<3).map { $0 == pick ? -1 : -2 } }
    let answers = [0, 0, 0, 0, 1, 2]
    let before = ChoiceScore([0, 0, 1, 2, 2, 0].map(one), answers: answers)
    let after = ChoiceScore([0, 1, 0, 1, 0, 0].map(one), answers: answers)
    #expect(before.accuracy == 2.0 / 6 && after.accuracy == 2.0 / 6)
    let flips = after.flips(from: before)
    #expect(flips.correctToIncorrect == 1 && flips.incorrectToCorrect == 1 && flips.incorrectToOther == 2)
    #expect(flips.flips == 2.0 / 6 && flips.allFlips == 4.0 / 6)
  }

  @Test func theFirstOfEqualsAndNoNumberAtAll() {
    let score = ChoiceScore([[-2, -1, -1], [-1, .nan], [-.infinity, -.infinity]], answers: [1, 0, 0])
    #expect(score.picks == [1, nil, 0] && score.correct == 2)
  }

  // MARK: The boundary

  /// Letters, and "ab" and "abc" as merges.
  private func tokenizer(prefix: Bool = false) throws -> Tokenizer {
    let letters = (97...122).map { #""\#(Character(Unicode.Scalar($0)!))":\#($0 - 97)"# }.joined(separator: ",")
    let post =
      prefix
      ? #"{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},"#
        + #"{"Sequence":{"id":"A","type_id":0}}],"pair":[],"#
        + #""special_tokens":{"<s>":{"id":"<s>","ids":[29],"tokens":["<s>"]}}}"#
      : "null"
    let added =
      prefix
      ? #"{"id":29,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"#
        + #""normalized":false,"special":true}"#
      : ""
    let json = """
      {"added_tokens":[\(added)],"normalizer":null,"pre_tokenizer":null,"post_processor":\(post),"decoder":null,
       "model":{"type":"BPE","unk_token":"<unk>","vocab":{\(letters),"ab":26,"abc":27,"<unk>":28},
       "merges":["a b","ab c"]}}
      """
    return try Tokenizer(json: Array(json.utf8), source: "tokenizer.json")
  }

  private func encoded(
    _ prompt: String, _ choices: [String], _ tokenizer: Tokenizer, begin: Int? = nil, limit: Int = 100
  ) throws -> EncodedQuestion {
    try EncodedQuestion(
      ChoiceQuestion(prompt: prompt, choices: choices, answer: 0), tokenizer, beginToken: begin, limit: limit,
      place: "q")
  }

  @Test func choicesBeginBehindTheirPrompt() throws {
    let question = try encoded("xa", ["x", "yz"], tokenizer())
    #expect(question.rows == [[23, 0, 23], [23, 0, 24, 25]] && question.given == 2 && !question.isMerged)
  }

  /// "xa" + "b" is x, ab: the a is scored with both choices.
  @Test func aMergeOverTheSeamIsScoredWithEveryChoice() throws {
    let question = try encoded("xa", ["b", "y"], tokenizer())
    #expect(question.rows == [[23, 26], [23, 0, 24]] && question.given == 1 && question.isMerged)
  }

  @Test func whatStandsBeforeATextIsGiven() throws {
    let question = try encoded("a", ["b", "y"], tokenizer(prefix: true))
    #expect(question.rows == [[29, 26], [29, 0, 24]] && question.given == 1 && question.isMerged)
    let empty = try encoded("", ["b", "y"], tokenizer(), begin: 7)
    #expect(empty.rows == [[7, 1], [7, 24]] && empty.given == 1 && !empty.isMerged)
  }

  @Test func refusals() throws {
    let plain = try tokenizer()
    func refusal(_ body: () throws -> Void) -> String {
      do {
        try body()
        return "nothing was refused"
      } catch {
        return "\(error)"
      }
    }
    #expect(refusal { _ = try encoded("", ["a", "b"], plain) }.contains("the prompt is empty"))
    #expect(refusal { _ = try encoded("a", ["b", "c"], plain) }.contains("changes the prompt's first token"))
    #expect(refusal { _ = try encoded("xyz", ["a", "bcd"], plain, limit: 5) }.contains("6 tokens, the context 5"))
    for (line, part) in [
      (#"{"choices": ["a", "b"], "answer": 0}"#, "\"prompt\" is missing, expected a string"),
      (#"{"prompt": "p", "answer": 0}"#, "\"choices\" is missing"),
      (#"{"prompt": "p", "choices": [], "answer": 0}"#, "no choices"),
      (#"{"prompt": "p", "choices": ["a"], "answer": 0}"#, "a single choice"),
      (#"{"prompt": "p", "choices": ["a", ""], "answer": 0}"#, "choice 1 is empty"),
      (#"{"prompt": "p", "choices": ["a", 1], "answer": 0}"#, "a list of strings"),
      (#"{"prompt": "p", "choices": ["a", "b"]}"#, "\"answer\" is missing"),
      (#"{"prompt": "p", "choices": ["a", "b"], "answer": 2}"#, "the answer is 2 of 2 choices"),
      (#"{"prompt": "p", "choices": ["a", "b"], "answer": -1}"#, "the answer is -1 of 2 choices"),
    ] {
      let found = refusal { _ = try ChoiceQuestion(JSONScanner.parse(Array(line.utf8)), place: "q.jsonl, line 3") }
      #expect(found.hasPrefix("q.jsonl, line 3: ") && found.contains(part), "\(found)")
    }
  }
}
