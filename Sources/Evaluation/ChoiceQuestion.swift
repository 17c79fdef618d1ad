public import Checkpoints
public import Text
import Transformer

/// A question with several answers to choose from, one of them right.
public struct ChoiceQuestion: Sendable, Hashable {
  public let prompt: String
  public let choices: [String]
  /// Index of the right one.
  public let answer: Int

  public init(prompt: String, choices: [String], answer: Int) {
    self.prompt = prompt
    self.choices = choices
    self.answer = answer
  }

  /// Reads `{"prompt": "...", "choices": ["...", ...], "answer": index}`, one a line; blank lines are skipped.
  public static func load(_ path: String) throws -> [ChoiceQuestion] {
    let bytes = try FileBytes.read(path)
    var questions: [ChoiceQuestion] = [], start = 0, line = 0
    while start < bytes.count {
      let end = bytes[start...].firstIndex(of: 0x0A) ?? bytes.count
      line += 1
      if bytes[start..<end].contains(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }) {
        let value = try JSONScanner.parse(Array(bytes[start..<end]), path: path, origin: start)
        questions.append(try ChoiceQuestion(value, place: "\(path), line \(line)"))
      }
      start = end + 1
    }
    guard !questions.isEmpty else { throw ChoiceError(path, "no questions", hint: form) }
    return questions
  }

  private static let form = #"A line is {"prompt": "...", "choices": ["...", "..."], "answer": 0}"#

  /// - Parameter place: the name errors use.
  public init(_ value: JSONValue, place: String) throws(ChoiceError) {
    func wrong(_ key: String, _ expected: String) -> ChoiceError {
      ChoiceError(place, "\"\(key)\" is \(value[key]?.kind ?? "missing"), expected \(expected)", hint: Self.form)
    }
    guard let prompt = value["prompt"]?.string else { throw wrong("prompt", "a string") }
    guard let members = value["choices"]?.array else { throw wrong("choices", "a list of strings") }
    let choices = members.compactMap(\.string)
    guard choices.count == members.count else { throw wrong("choices", "a list of strings alone") }
    guard choices.count >= 2 else {
      throw ChoiceError(
        place, choices.isEmpty ? "no choices" : "a single choice", hint: "At least 2 are needed to choose from")
    }
    if let empty = choices.firstIndex(of: "") { throw ChoiceError(place, "choice \(empty) is empty", hint: nil) }
    guard let answer = value["answer"]?.integer else { throw wrong("answer", "the index of a choice") }
    guard choices.indices.contains(answer) else {
      throw ChoiceError(
        place, "the answer is \(answer) of \(choices.count) choices", hint: "They are counted from 0")
    }
    self.init(prompt: prompt, choices: choices, answer: answer)
  }
}

/// A question as the model reads it: a row of tokens a choice, and how many of them are given.
///
/// The boundary: prompt and choice are tokenized together, as the model would meet them, and the prompt alone. A merge
/// over the seam changes the prompt's last tokens, with one choice and not with another. So what is given is the
/// longest run of tokens that the prompt alone and every row begin with, and all that follows in a row is scored, the
/// end of the prompt included where a merge reaches into it: all choices are then likelihoods of whole texts after the
/// same given tokens. Most tokenizers keep a blank with the word behind it: choices should begin with it and prompts
/// not end on it.
public struct EncodedQuestion: Sendable, Hashable {
  /// A choice each, longer than `given`.
  public let rows: [[Int32]]
  /// Tokens in front that are not scored, at least 1.
  public let given: Int
  public let answer: Int
  /// Whether tokens of the prompt are scored since a merge reaches into it.
  public let isMerged: Bool

  /// - Precondition: tokens of at least 2 choices after at least 1 given one.
  public init(rows: [[Int32]], given: Int, answer: Int, isMerged: Bool = false) {
    precondition(rows.count >= 2 && given >= 1 && rows.allSatisfy { $0.count > given } && rows.indices.contains(answer),
      "rows of \(rows.map(\.count)) tokens after \(given), answer \(answer)")
    self.rows = rows
    self.given = given
    self.answer = answer
    self.isMerged = isMerged
  }

  /// - Parameters:
  ///   - beginToken: put before a text if the tokenizer has nothing to put there and the prompt is empty.
  ///   - limit: tokens of a row at most.
  ///   - place: the name errors use.
  public init(
    _ question: ChoiceQuestion, _ tokenizer: Tokenizer, beginToken: Int?, limit: Int, place: String
  ) throws {
    let prompt = try tokenizer.encode(question.prompt)
    let rows = try question.choices.map { try tokenizer.encode(question.prompt + $0) }
    var front = tokenizer.prefixIDs
    if front.isEmpty, prompt.isEmpty, let beginToken { front = [Int32(beginToken)] }
    let shared = rows.map { row in zip(prompt, row).prefix { $0 == $1 }.count }.min() ?? 0
    guard front.count + shared > 0 else {
      throw ChoiceError(
        place, prompt.isEmpty ? "the prompt is empty" : "a choice changes the prompt's first token",
        hint: "Something must be given before a choice: begin the prompt with other text")
    }
    if let short = rows.firstIndex(where: { $0.count <= shared }) {
      throw ChoiceError(place, "choice \(short) adds no token to the prompt", hint: nil)
    }
    if let long = rows.map({ front.count + $0.count }).max(), long > limit {
      throw ChoiceError(
        place, "prompt and choice have \(long) tokens, the context \(limit)", hint: "Shorten the prompt")
    }
    self.init(
      rows: rows.map { front + $0 }, given: front.count + shared, answer: question.answer,
      isMerged: shared < prompt.count)
  }
}

/// Why questions cannot be scored.
public struct ChoiceError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The file and the line.
  public let place: String
  public let problem: String
  public let hint: String?

  public init(_ place: String, _ problem: String, hint: String?) {
    self.place = place
    self.problem = problem
    self.hint = hint
  }

  public var description: String { "\(place): \(problem)." + (hint.map { " \($0)." } ?? "") }
}
