public import Formats

/// Continues texts with a model.
public final class Generator {
  public let decoder: DecoderSession

  /// Why a text ended.
  public enum Ending: Sendable, Hashable, CustomStringConvertible {
    /// The model said so; the token is not part of the text.
    case endToken(Int32)
    /// As many tokens as were asked for.
    case maximumTokens
    /// Prompt and continuation fill the memory that was laid out.
    case contextFull(capacity: Int)
    /// The receiver of the tokens wanted no more.
    case receiver

    public var description: String {
      switch self {
      case .endToken(let token): "end token \(token)"
      case .maximumTokens: "maximum number of tokens"
      case .contextFull(let capacity): "context of \(capacity) tokens is full"
      case .receiver: "stopped by the receiver"
      }
    }
  }

  public struct Continuation: Sendable, Hashable {
    public var tokens: [Int32] = []
    public var ending: Ending
    public var promptTokens: Int
  }

  /// - Parameters:
  ///   - maximumTokens: of prompt and continuation together; at most the model's `contextLimit`.
  ///   - activationFormat: inputs of linear layers are rounded to it.
  public init(_ parameters: Parameters, maximumTokens: Int, activationFormat: MXFormat? = nil) throws(ModelError) {
    decoder = try DecoderSession(parameters, capacity: maximumTokens, activationFormat: activationFormat)
  }

  /// Continues `prompt` by at most `maxTokens` tokens.
  ///
  /// - Parameters:
  ///   - endTokens: tokens that end the text; those of the configuration if nil.
  ///   - onToken: gets every token as it is chosen; false ends the text.
  /// - Throws: `ModelError` for an empty or too long prompt, ids outside the vocabulary, sampling settings without sense,
  ///   logits that are no numbers.
  @discardableResult
  public func generate(
    prompt: [Int32], maxTokens: Int, temperature: Double = 0, seed: UInt64 = 0, topK: Int? = nil, topP: Double? = nil,
    endTokens: [Int]? = nil, onToken: (Int32) -> Bool = { _ in true }
  ) throws(ModelError) -> Continuation {
    let configuration = decoder.parameters.configuration
    try check(prompt, vocabulary: configuration.vocabularySize)
    let sampler = try Sampler(temperature: temperature, seed: seed, topK: topK, topP: topP)
    let ends = endTokens ?? configuration.endTokens
    var text = Continuation(ending: .maximumTokens, promptTokens: prompt.count)
    text.tokens.reserveCapacity(min(max(maxTokens, 0), decoder.capacity))
    guard maxTokens > 0 else { return text }
    decoder.reset()
    decoder.read(prompt)
    while true {
      let token = try decoder.next(sampler)
      if ends.contains(Int(token)) {
        text.ending = .endToken(token)
        return text
      }
      text.tokens.append(token)
      if !onToken(token) {
        text.ending = .receiver
        return text
      }
      if text.tokens.count == maxTokens { return text }
      // The last token that fits is chosen but never read.
      if decoder.position == decoder.capacity {
        text.ending = .contextFull(capacity: decoder.capacity)
        return text
      }
      decoder.read(token)
    }
  }

  private func check(_ prompt: [Int32], vocabulary: Int) throws(ModelError) {
    guard !prompt.isEmpty else {
      throw ModelError("prompt", "no tokens", hint: "Give a text, or begin with the begin token of the model.")
    }
    guard prompt.count <= decoder.capacity else {
      throw ModelError("prompt", "\(prompt.count) tokens, room for \(decoder.capacity)",
        hint: "Shorten the prompt or allow more tokens.")
    }
    if let token = prompt.first(where: { $0 < 0 || Int($0) >= vocabulary }) {
      throw ModelError("prompt", "token \(token) is not one of the \(vocabulary) of the model",
        hint: "The tokenizer belongs to another model.")
    }
  }
}
