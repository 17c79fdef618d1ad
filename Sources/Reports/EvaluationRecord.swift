public import Checkpoints

/// What `mfqat evaluate --json` prints: the figures of one text for one source in several formats.
public struct EvaluationRecord: Sendable, Equatable {
  public struct Result: Sendable, Equatable {
    /// `fp32` or the name of a block format.
    public var format: String
    /// Mean nats a scored token; NaN without a text.
    public var nll: Double
    /// Storage of a quantized weight, its part of the block's scale included; 32 for `fp32`.
    public var bitsPerWeight: Double
    /// Mean KL(reference ‖ model) in nats a token, and the share of equal most likely tokens; nil without a reference.
    public var kl: Double?
    public var sameTop: Double?
    /// The 99 % quantile over tokens of that KL, and the largest.
    public var kl99: Double?
    public var klMaximum: Double?
    /// Answers to questions; nil without questions.
    public var choices: ChoiceFigures?

    public var perplexity: Double { Self.exponential(nll) }

    public init(
      format: String, nll: Double, bitsPerWeight: Double, kl: Double? = nil, sameTop: Double? = nil,
      kl99: Double? = nil, klMaximum: Double? = nil, choices: ChoiceFigures? = nil
    ) {
      self.format = format
      self.nll = nll
      self.bitsPerWeight = bitsPerWeight
      self.kl = kl
      self.sameTop = sameTop
      self.kl99 = kl99
      self.klMaximum = klMaximum
      self.choices = choices
    }
  }

  public var source: String
  /// Files; none where only questions were asked.
  public var text: [String]
  public var context: Int
  public var tokensScored: Int
  /// The format that inputs of linear layers were rounded to; nil for fp32.
  public var activations: String?
  /// The questions; nil where none were asked.
  public var questions: Questions?
  public var results: [Result]

  public init(
    source: String, text: [String], context: Int, tokensScored: Int, activations: String? = nil,
    questions: Questions? = nil, results: [Result]
  ) {
    self.source = source
    self.text = text
    self.context = context
    self.tokensScored = tokensScored
    self.activations = activations
    self.questions = questions
    self.results = results
  }

  public func result(_ format: String) -> Result? { results.first { $0.format == format } }

  /// The object of the contract. `text` is a string for one file, a list for several or none; `kl`, `same_top`,
  /// `kl_p99` and `kl_max` are null without a reference, `nll` and `perplexity` without a text. A perplexity beyond the
  /// range of a double is null, too: JSON has no infinity. `activations` and `choices` are there only where they were
  /// asked for.
  public var json: JSONValue {
    var object = JSONObject()
    object["source"] = .string(source)
    object["text"] = text.count == 1 ? .string(text[0]) : .array(text.map { .string($0) })
    object["context"] = .integer(context)
    object["tokens_scored"] = .integer(tokensScored)
    object["activations"] = activations.map { .string($0) }
    object["choices"] = questions?.json
    object["results"] = .array(results.map { result in
      var member = JSONObject()
      member["format"] = .string(result.format)
      member["nll"] = Self.number(result.nll)
      member["perplexity"] = Self.number(result.perplexity)
      member["bits_per_weight"] = Self.number(result.bitsPerWeight)
      member["kl"] = Self.number(result.kl)
      member["same_top"] = Self.number(result.sameTop)
      member["kl_p99"] = Self.number(result.kl99)
      member["kl_max"] = Self.number(result.klMaximum)
      member["choices"] = result.choices?.json
      return .object(member)
    })
    return .object(object)
  }

  static func number(_ value: Double?) -> JSONValue { value.flatMap { $0.isFinite ? .number($0) : nil } ?? .null }
}

// MARK: - Reading

extension EvaluationRecord {
  /// Reads the file at `path`.
  public init(contentsOf path: String) throws {
    try self.init(JSONScanner.parse(file: path), path: path)
  }

  /// - Parameter path: the name errors use.
  public init(_ value: JSONValue, path: String) throws(ReportError) {
    let hint = "Records are written by mfqat evaluate --json > FILE"
    func missing(_ key: String, _ expected: String, _ found: JSONValue?) -> ReportError {
      ReportError(path, expected: "\(expected) \"\(key)\"", found: found.map(\.kind) ?? "none", hint: hint)
    }
    guard let source = value["source"]?.string else { throw missing("source", "a string", value["source"]) }
    guard let context = value["context"]?.integer else { throw missing("context", "an integer", value["context"]) }
    guard let scored = value["tokens_scored"]?.integer else {
      throw missing("tokens_scored", "an integer", value["tokens_scored"])
    }
    guard let members = value["results"]?.array else { throw missing("results", "a list", value["results"]) }
    var results: [Result] = []
    for (index, member) in members.enumerated() {
      guard let format = member["format"]?.string else {
        throw missing("results[\(index)].format", "a string", member["format"])
      }
      guard let nll = member["nll"]?.double ?? (member["nll"]?.isNull == true ? .nan : nil) else {
        throw missing("results[\(index)].nll", "a number", member["nll"])
      }
      guard let bits = member["bits_per_weight"]?.double else {
        throw missing("results[\(index)].bits_per_weight", "a number", member["bits_per_weight"])
      }
      results.append(
        Result(
          format: format, nll: nll, bitsPerWeight: bits, kl: member["kl"]?.double, sameTop: member["same_top"]?.double,
          kl99: member["kl_p99"]?.double, klMaximum: member["kl_max"]?.double,
          choices: member["choices"].flatMap { ChoiceFigures($0) }))
    }
    let text = value["text"]?.string.map { [$0] } ?? value["text"]?.array?.compactMap(\.string) ?? []
    self.init(
      source: source, text: text, context: context, tokensScored: scored, activations: value["activations"]?.string,
      questions: value["choices"].flatMap { Questions($0) }, results: results)
  }
}
