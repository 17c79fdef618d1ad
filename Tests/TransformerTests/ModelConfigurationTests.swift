import Foundation
import TestSupport
import Testing
import Transformer

struct ModelConfigurationTests {
  private func read(_ json: String) throws(ModelError) -> ModelConfiguration {
    try ModelConfiguration(json: Array(json.utf8), source: "config.json")
  }

  /// The refusal names the file and holds every one of `words`.
  private func expectRefusal(_ json: String, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation) {
    do throws(ModelError) {
      _ = try read(json)
      Issue.record("nothing was refused", sourceLocation: sourceLocation)
    } catch {
      for word in ["config.json"] + words {
        #expect(error.description.contains(word), "\(error)", sourceLocation: sourceLocation)
      }
    }
  }

  @Test func unknownArchitectureNamesTheKnownOnes() {
    expectRefusal(
      tinyConfiguration("GPT2LMHeadModel"), "'GPT2LMHeadModel'", "LlamaForCausalLM", "MistralForCausalLM",
      "Qwen2ForCausalLM", "Qwen3ForCausalLM")
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["architectures": nil, "model_type": "mamba"]), "'mamba'")
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["architectures": nil]), "architecture")
  }

  /// Configurations without `architectures` are read by their model type.
  @Test func modelTypeAlone() throws {
    let json = tinyConfiguration("LlamaForCausalLM", ["architectures": nil, "model_type": "qwen3"])
    #expect(try read(json).architecture == .qwen3)
  }

  @Test(arguments: ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
  func missingKeyIsNamed(key: String) {
    expectRefusal(tinyConfiguration("LlamaForCausalLM", [key: nil]), "'\(key)'")
    expectRefusal(tinyConfiguration("LlamaForCausalLM", [key: 0]), key)
    expectRefusal(tinyConfiguration("LlamaForCausalLM", [key: -3]), key)
  }

  @Test func headCounts() {
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["num_key_value_heads": 3]), "4", "3", "num_key_value_heads")
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["num_attention_heads": 5, "num_key_value_heads": 5]), "head_dim")
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["head_dim": 7]), "7", "pairs")
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["head_dim": 0]), "head_dim")
  }

  @Test func activation() {
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["hidden_act": "gelu"]), "'gelu'", "silu")
  }

  @Test func rotaryScaling() {
    let dynamic: [String: any Sendable] = ["rope_type": "dynamic", "factor": 2.0]
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["rope_scaling": dynamic]), "'dynamic'", "llama3")
    let old: [String: any Sendable] = ["type": "yarn", "factor": 2.0]
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["rope_scaling": old]), "'yarn'")
    let half: [String: any Sendable] = ["rope_type": "default", "partial_rotary_factor": 0.5]
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["rope_parameters": half]), "partial_rotary_factor")
    let bare: [String: any Sendable] = ["rope_type": "llama3", "factor": 8.0]
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["rope_scaling": bare]), "low_freq_factor")
    let negative: [String: any Sendable] = ["rope_type": "linear", "factor": -2.0]
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["rope_scaling": negative]), "factor")
  }

  /// Position interpolation divides every frequency.
  @Test func linearScaling() throws {
    let scaling: [String: any Sendable] = ["type": "linear", "factor": 4.0]
    let plain = try read(tinyConfiguration()).rotary
    let scaled = try read(tinyConfiguration("LlamaForCausalLM", ["rope_scaling": scaling])).rotary
    for i in 0..<3 {
      #expect(scaled.frequency(i, headDimension: 6) == plain.frequency(i, headDimension: 6) / 4)
    }
    #expect(plain.frequency(0, headDimension: 6) == 1)
    #expect(abs(plain.frequency(1, headDimension: 6) - 0.2154434690031884) < 1e-15)  // 100^(-1/3)
  }

  @Test func notJSON() {
    expectRefusal("{", "not a model configuration")
    expectRefusal(tinyConfiguration("LlamaForCausalLM", ["hidden_size": "many"]), "hidden_size")
  }

  /// Where biases, norms and the tied head stand in each family.
  @Test func families() throws {
    let llama = try read(tinyConfiguration("LlamaForCausalLM", ["attention_bias": true, "mlp_bias": true]))
    #expect(llama.queryKeyValueBias && llama.outputBias && llama.feedForwardBias && !llama.queryKeyNorm)
    let qwen2 = try read(tinyConfiguration("Qwen2ForCausalLM"))
    #expect(qwen2.queryKeyValueBias && !qwen2.outputBias && !qwen2.feedForwardBias && !qwen2.queryKeyNorm)
    let qwen3 = try read(tinyConfiguration("Qwen3ForCausalLM", ["tie_word_embeddings": true]))
    #expect(!qwen3.queryKeyValueBias && qwen3.queryKeyNorm && qwen3.tiedHead)
    let mistral = try read(tinyConfiguration("MistralForCausalLM", ["sliding_window": 16]))
    #expect(!mistral.queryKeyValueBias && mistral.slidingWindow == 16 && !mistral.tiedHead)
    // A window that is written down but switched off.
    #expect(try read(tinyConfiguration("Qwen2ForCausalLM", ["sliding_window": 16])).slidingWindow == nil)
    let slides: [String: (any Sendable)?] = ["sliding_window": 16, "use_sliding_window": true]
    #expect(try read(tinyConfiguration("Qwen2ForCausalLM", slides)).slidingWindow == 16)
  }

  @Test func endTokensAreOneOrMany() throws {
    #expect(try read(tinyConfiguration("LlamaForCausalLM", ["eos_token_id": 2])).endTokens == [2])
    #expect(try read(tinyConfiguration("LlamaForCausalLM", ["eos_token_id": [2, 7]])).endTokens == [2, 7])
    #expect(try read(tinyConfiguration()).endTokens == [])
  }

  /// 2·V·D + D + L·(D·(H+2G)·d + H·d·D + 3·D·F + 2·D), written out.
  @Test func parameterCount() throws {
    let matrices = 24 * (4 + 2 * 2) * 6 + 4 * 6 * 24 + 3 * 24 * 40
    #expect(try read(tinyConfiguration()).parameterCount == 2 * 51 * 24 + 24 + 2 * (matrices + 2 * 24))
  }

  /// transformers 4 and 5 spell the same configuration differently.
  @Test(.enabled(if: SharedData.isPresent, "\(SharedData.absence)"))
  func bothSpellings() throws {
    func read(_ name: String) throws -> ModelConfiguration {
      try ModelConfiguration(json: Array(SharedData.data("golden/models/tiny-llama3rope/" + name)), source: name)
    }
    let five = try read("config.json"), four = try read("config.transformers4.json")
    #expect(five == four)
    #expect(
      five.rotary.kind == .llama3(factor: 8, lowFrequency: 1, highFrequency: 4, originalPositions: 64)
        && five.rotary.theta == 10000)
  }
}
