import Checkpoints
public import Quantization

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The shape of a decoder-only model, as `config.json` describes it.
public struct ModelConfiguration: Sendable, Hashable {
  /// Families that differ only in where biases and norms stand.
  public enum Architecture: String, Sendable, CaseIterable {
    case llama, mistral, qwen2, qwen3

    /// The `architectures` entry of Hugging Face.
    public var className: String {
      switch self {
      case .llama: "LlamaForCausalLM"
      case .mistral: "MistralForCausalLM"
      case .qwen2: "Qwen2ForCausalLM"
      case .qwen3: "Qwen3ForCausalLM"
      }
    }
  }

  public var architecture: Architecture
  public var hiddenSize: Int
  public var feedForwardSize: Int
  public var layerCount: Int
  public var queryHeads: Int
  public var keyHeads: Int
  public var headDimension: Int
  public var vocabularySize: Int
  public var maximumPositions: Int
  public var normEpsilon: Float
  public var rotary: RotaryScaling
  public var tiedHead: Bool
  /// Bias on q, k and v (Qwen2; Llama with `attention_bias`).
  public var queryKeyValueBias: Bool
  /// Bias on the attention output (Llama with `attention_bias`).
  public var outputBias: Bool
  public var feedForwardBias: Bool
  /// RMSNorm on queries and keys, per head (Qwen3).
  public var queryKeyNorm: Bool
  /// Longest distance attention looks back, where the model has one.
  public var slidingWindow: Int?
  public var beginToken: Int?
  public var endTokens: [Int]
  /// Rotations that a reparameterised model applies while it runs; empty for an ordinary one.
  public var transforms = OnlineTransforms()

  public var queryWidth: Int { queryHeads * headDimension }
  public var keyWidth: Int { keyHeads * headDimension }
  /// Columns of q, k and v side by side.
  public var queryKeyValueWidth: Int { queryWidth + 2 * keyWidth }

  /// Reads `config.json`, spelled as transformers 4 or 5 writes it.
  public init(json: [UInt8], source: String) throws(ModelError) {
    let file: ConfigurationFile
    do {
      file = try JSONDecoder().decode(ConfigurationFile.self, from: Data(json))
    } catch {
      throw ModelError(source, "not a model configuration: \(error)")
    }
    try self.init(file, source: source)
    guard file.mfqat_online_rotations != nil else { return }
    let document: JSONValue
    do {
      document = try JSONScanner.parse(json, path: source)
    } catch {
      throw ModelError(source, "not a model configuration: \(error)")
    }
    transforms = try OnlineTransforms(
      document[OnlineTransforms.configurationKey] ?? [], for: self, source: source)
  }

  init(_ file: ConfigurationFile, source: String) throws(ModelError) {
    let known = Architecture.allCases.map(\.className).joined(separator: ", ")
    let named = file.architectures?.first ?? file.model_type ?? ""
    guard
      let architecture = Architecture.allCases.first(where: { $0.className == named })
        ?? (file.architectures == nil ? Architecture(rawValue: named) : nil)
    else {
      throw ModelError(source, "architecture '\(named)' is not supported", hint: "Supported: \(known).")
    }
    func required(_ value: Int?, _ key: String) throws(ModelError) -> Int {
      guard let value else { throw ModelError(source, "key '\(key)' is missing") }
      guard value > 0 && value < 1 << 31 else { throw ModelError(source, "\(key) is \(value), expected a positive size") }
      return value
    }
    self.architecture = architecture
    hiddenSize = try required(file.hidden_size, "hidden_size")
    feedForwardSize = try required(file.intermediate_size, "intermediate_size")
    layerCount = try required(file.num_hidden_layers, "num_hidden_layers")
    queryHeads = try required(file.num_attention_heads, "num_attention_heads")
    keyHeads = try required(file.num_key_value_heads ?? file.num_attention_heads, "num_key_value_heads")
    vocabularySize = try required(file.vocab_size, "vocab_size")
    maximumPositions = try required(file.max_position_embeddings ?? 2048, "max_position_embeddings")
    // Qwen3 alone has a head width of its own where the key is left out.
    if let headDimension = file.head_dim ?? (architecture == .qwen3 ? 128 : nil) {
      self.headDimension = try required(headDimension, "head_dim")
    } else {
      guard hiddenSize % queryHeads == 0 else {
        throw ModelError(source, "hidden_size \(hiddenSize) is no multiple of num_attention_heads \(queryHeads)",
          hint: "State head_dim.")
      }
      headDimension = hiddenSize / queryHeads
    }
    guard queryHeads % keyHeads == 0 else {
      throw ModelError(source, "num_attention_heads \(queryHeads) is no multiple of num_key_value_heads \(keyHeads)")
    }
    guard headDimension % 2 == 0 else {
      throw ModelError(source, "head_dim \(headDimension) is odd; rotary embedding needs pairs")
    }
    if let activation = file.hidden_act, activation != "silu" {
      throw ModelError(source, "hidden_act '\(activation)' is not supported", hint: "Supported: silu.")
    }
    normEpsilon = file.rms_norm_eps ?? 1e-6
    rotary = try RotaryScaling(file, source: source)
    tiedHead = file.tie_word_embeddings ?? false
    let attentionBias = file.attention_bias ?? false
    queryKeyValueBias = architecture == .qwen2 || attentionBias
    outputBias = architecture != .qwen2 && attentionBias
    feedForwardBias = architecture == .llama && (file.mlp_bias ?? false)
    queryKeyNorm = architecture == .qwen3
    let slides = architecture == .mistral || (file.use_sliding_window ?? false)
    slidingWindow = slides ? file.sliding_window : nil
    beginToken = file.bos_token_id
    endTokens = file.eos_token_id?.values ?? []
  }

  /// Parameters of the whole model, a tied head counted once.
  public var parameterCount: Int { ParameterLayout(self).elementCount }
}

/// `config.json` as it stands in the file; only what this project reads.
struct ConfigurationFile: Codable {
  var architectures: [String]?
  var model_type: String?
  var hidden_size: Int?
  var intermediate_size: Int?
  var num_hidden_layers: Int?
  var num_attention_heads: Int?
  var num_key_value_heads: Int?
  var head_dim: Int?
  var vocab_size: Int?
  var max_position_embeddings: Int?
  var rms_norm_eps: Float?
  var hidden_act: String?
  var tie_word_embeddings: Bool?
  var attention_bias: Bool?
  var mlp_bias: Bool?
  var use_sliding_window: Bool?
  var sliding_window: Int?
  var partial_rotary_factor: Double?
  var bos_token_id: Int?
  var eos_token_id: OneOrMany?
  // transformers 4
  var rope_theta: Double?
  var rope_scaling: RopeParameters?
  // transformers 5
  var rope_parameters: RopeParameters?
  /// Read by `OnlineTransforms`.
  var mfqat_online_rotations: Present?

  /// A key that is there and not null, whatever it holds.
  struct Present: Codable {
    init(from decoder: any Decoder) throws {}
    func encode(to encoder: any Encoder) throws {}
  }

  struct RopeParameters: Codable {
    var rope_type: String?
    var type: String?
    var rope_theta: Double?
    var factor: Double?
    var low_freq_factor: Double?
    var high_freq_factor: Double?
    var original_max_position_embeddings: Double?
    var partial_rotary_factor: Double?
  }

  /// `eos_token_id` is one number or a list.
  struct OneOrMany: Codable {
    let values: [Int]
    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      values = try (try? container.decode(Int.self)).map { [$0] } ?? container.decode([Int].self)
    }
    func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      try container.encode(values)
    }
  }
}
