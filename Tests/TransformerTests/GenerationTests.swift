import Checkpoints
import Foundation
import Formats
import Kernels
import Quantization
import Tensors
import TestSupport
import Testing
import Transformer

@Suite struct GenerationTests {
  static let families = [
    #""LlamaForCausalLM", "attention_bias": true, "mlp_bias": true, "tie_word_embeddings": false, "#,
    #""MistralForCausalLM", "sliding_window": 24, "tie_word_embeddings": true, "#,
    #""Qwen2ForCausalLM", "tie_word_embeddings": true, "#,
    #""Qwen3ForCausalLM", "head_dim": 16, "tie_word_embeddings": false, "#,
  ]

  /// A random model of the family, every parameter nonzero, biases and gains included.
  static func model(_ family: String, vocabulary: Int = 67) throws -> Parameters {
    let parts = family.split(separator: ",", maxSplits: 1)
    let json = "{\"architectures\": [\(parts[0])],\(parts[1])\"hidden_size\": 40, \"intermediate_size\": 56, "
      + "\"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
      + "\"vocab_size\": \(vocabulary), \"max_position_embeddings\": 32, \"eos_token_id\": [2, 5]}"
    let parameters = Parameters(try ModelConfiguration(json: Array(json.utf8), source: "test"), in: Arena("test"))
    let random = CounterRandom(seed: 3, stream: "weights")
    var index: UInt64 = 0
    for unit in parameters.units {
      for spec in unit.layout.parameters {
        for i in 0..<spec.count {
          let value = Float(random.uniform(index)) - 0.5
          unit.flat.set(spec.offset + i, spec.role == .norm ? 1 + value : value)
          index += 1
        }
      }
    }
    return parameters
  }

  static func tokens(_ count: Int, vocabulary: Int) -> [Int32] {
    let random = CounterRandom(seed: 8, stream: "tokens")
    return (0..<count).map { Int32(random.integer(UInt64($0), below: UInt64(vocabulary))) }
  }

  /// Logits at every position by the full forward, (S, V).
  static func fullLogits(_ w: Parameters, _ tokens: [Int32], activations: MXFormat? = nil) throws -> Tensor {
    let arena = Arena("full")
    let space = try Workspace(
      w.configuration, sequences: 1, length: tokens.count, purpose: .inference, activationFormat: activations, in: arena)
    for (i, token) in tokens.enumerated() { space.ids[i] = token }
    DecoderModel.forward(w, space)
    var logits = Tensor(rows: tokens.count, columns: w.configuration.vocabularySize, in: arena)
    Linear.forward(&logits, of: space.hidden, weight: w.head)
    return logits
  }

  /// The largest difference over the largest magnitude.
  static func distance(_ session: DecoderSession, _ row: Int, of full: borrowing Tensor) -> Float {
    var difference: Float = 0, magnitude: Float = 0
    let logits = session.logits.rows(0..<1), V = full.columns
    for i in 0..<V {
      difference = max(difference, (logits.span[i] - full.span[row * V + i]).magnitude)
      magnitude = max(magnitude, full.span[row * V + i].magnitude)
    }
    return difference / magnitude
  }

  /// Every prefix in one pass, token by token, and in two passes cut at every place.
  static func check(_ w: Parameters, length: Int, activations: MXFormat? = nil, tolerance: Float = 1e-4) throws {
    let tokens = tokens(length, vocabulary: w.configuration.vocabularySize)
    let full = try fullLogits(w, tokens, activations: activations)
    let session = try DecoderSession(w, capacity: length, activationFormat: activations)
    for count in 1...length {
      session.reset()
      session.read(tokens.prefix(count))
      #expect(session.position == count && distance(session, count - 1, of: full) < tolerance, "prefix of \(count)")
    }
    session.reset()
    for (i, token) in tokens.enumerated() {
      session.read(token)
      #expect(distance(session, i, of: full) < tolerance, "token \(i)")
    }
    for cut in 1..<length {
      session.reset()
      session.read(tokens.prefix(cut))
      session.read(tokens.dropFirst(cut))
      #expect(distance(session, length - 1, of: full) < tolerance, "cut at \(cut)")
    }
  }

  @Test(arguments: families) func logitsEqualTheFullForward(family: String) throws {
    try Self.check(try Self.model(family), length: 24)
  }

  // A value on a rounding boundary may fall to either side: activations of 8 bits move logits by a step at most.
  @Test(arguments: families) func roundedActivationsEqualTheFullForward(family: String) throws {
    try Self.check(try Self.model(family), length: 12, activations: .mxint8, tolerance: 2e-2)
  }

  @Test(.enabled(if: SharedData.isPresent, "\(SharedData.absence)"), arguments: [
    "golden/models/tiny-qwen2", "golden/models/tiny-qwen3", "golden/models/tiny-llama3rope", "models/stories260K/hf",
  ])
  func logitsOfRealModelsEqualTheFullForward(path: String) throws {
    let source = try HuggingFaceFolder(SharedData.url(path).path)
    let w = Parameters(source.configuration, in: Arena("test"))
    try source.load(into: w)
    try Self.check(w, length: 40)
  }

  @Test func longPromptsTakeSeveralPasses() throws {
    let json = String(decoding: AnchorFixture.json([("\"max_position_embeddings\": 32", "\"max_position_embeddings\": 700")]), as: UTF8.self)
    let w = Parameters(try ModelConfiguration(json: Array(json.utf8), source: "test"), in: Arena("test"))
    for unit in w.units {
      for i in 0..<unit.flat.count { unit.flat.set(i, Float(i % 13) * 0.02 - 0.11) }
    }
    let tokens = Self.tokens(600, vocabulary: 33)
    let full = try Self.fullLogits(w, tokens)
    let session = try DecoderSession(w, capacity: 600)
    #expect(session.passLength < 600)
    session.read(tokens)
    #expect(Self.distance(session, 599, of: full) < 1e-4)
  }

  @Test func endings() throws {
    let w = try Self.model(Self.families[0])
    let generator = try Generator(w, maximumTokens: 20)
    let prompt = Self.tokens(6, vocabulary: 67)
    let whole = try generator.generate(prompt: prompt, maxTokens: 100, endTokens: [])
    // Prompt and all but the last token fill the cache.
    #expect(whole.ending == .contextFull(capacity: 20) && whole.tokens.count == 15 && whole.promptTokens == 6)
    // Greedy continuation is the argmax of the full forward.
    let full = try Self.fullLogits(w, prompt + whole.tokens.dropLast())
    for (i, token) in whole.tokens.enumerated() {
      var best = 0
      for v in 0..<67 where full.span[(5 + i) * 67 + v] > full.span[(5 + i) * 67 + best] { best = v }
      #expect(Int(token) == best, "token \(i)")
    }
    var seen: [Int32] = []
    let some = try generator.generate(prompt: prompt, maxTokens: 4, endTokens: []) { seen.append($0); return true }
    #expect(some.ending == .maximumTokens && some.tokens == Array(whole.tokens.prefix(4)) && seen == some.tokens)
    let stopped = try generator.generate(prompt: prompt, maxTokens: 9, endTokens: []) { _ in false }
    #expect(stopped.ending == .receiver && stopped.tokens.count == 1)
    let end = whole.tokens[3]
    let ended = try generator.generate(prompt: prompt, maxTokens: 9, endTokens: [Int(end)])
    #expect(ended.ending == .endToken(end) && ended.tokens == Array(whole.tokens.prefix { $0 != end }))
    #expect(try generator.generate(prompt: prompt, maxTokens: 0).tokens.isEmpty)
    // The configuration's end tokens count where none are named.
    let random = try generator.generate(prompt: prompt, maxTokens: 100, temperature: 40, seed: 1)
    #expect(!random.tokens.contains(2) && !random.tokens.contains(5))
  }

  @Test func wrongPromptsAreRefused() throws {
    let generator = try Generator(try Self.model(Self.families[2]), maximumTokens: 8)
    for (prompt, word) in [([], "no tokens"), ([67], "token 67"), ([-1], "token -1"), ([Int32](repeating: 1, count: 9), "room for 8")] {
      anchorRefusal(word) { try generator.generate(prompt: prompt, maxTokens: 1) }
    }
    anchorRefusal("attends to 32") { _ = try Generator(try Self.model(Self.families[2]), maximumTokens: 33) }
    anchorRefusal("attends to 24") { _ = try Generator(try Self.model(Self.families[1]), maximumTokens: 25) }
  }

  @Test(.enabled(if: SharedData.isPresent, "\(SharedData.absence)")) func aStoryBegins() throws {
    let folder = SharedData.url("models/stories260K/hf").path
    let source = try ModelSources.open(folder)
    let w = Parameters(source.configuration, in: Arena("test"))
    try source.load(into: w, as: nil)
    let vocabulary = try #require(JSONScanner.parse(file: folder + "/tokenizer.json")["model"]?["vocab"]?.object)
    var pieces: [Int32: String] = [:]
    for (piece, id) in vocabulary.members { pieces[Int32(try #require(id.integer))] = piece }
    func text(_ tokens: [Int32]) -> String {
      tokens.map { pieces[$0]! }.joined().replacing("▁", with: " ").replacing("<0x0A>", with: "\n")
    }
    let generator = try Generator(w, maximumTokens: 200)
    let story = try generator.generate(prompt: [1], maxTokens: 60)
    #expect(text(story.tokens).hasPrefix(" Once upon a time, there was a little girl named Lily."), "\(text(story.tokens))")
    // Weights of 8 bits tell it just as well.
    try source.load(into: w, as: .mxint8)
    let rounded = try generator.generate(prompt: [1], maxTokens: 20)
    #expect(text(rounded.tokens).hasPrefix(" Once upon a time, there was a"), "\(text(rounded.tokens))")
    let a = try generator.generate(prompt: [1], maxTokens: 40, temperature: 1, seed: 4)
    #expect(try generator.generate(prompt: [1], maxTokens: 40, temperature: 1, seed: 4) == a)
    #expect(try generator.generate(prompt: [1], maxTokens: 40, temperature: 1, seed: 5) != a)
  }
}

extension Tensor {
  /// One element, for tests.
  mutating func set(_ index: Int, _ value: Float) {
    var span = mutableSpan
    span[index] = value
  }
}
