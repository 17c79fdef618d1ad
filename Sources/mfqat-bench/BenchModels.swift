import ArgumentParser
import Transformer

/// The model shapes that are measured, with the batch that goes with each.
enum BenchModel: String, CaseIterable, ExpressibleByArgument {
  /// 15 million parameters, more than half of the work in the output projection.
  case stories15m
  /// 29 million, small vocabulary.
  case b
  /// 160 million.
  case c
  /// 20 million, nearly all of it in layers: what ranks exchange.
  case d
  /// 0.1 million: what is left when arithmetic costs nothing.
  case tiny

  /// What the PyTorch baseline calls it.
  var baselineName: String {
    switch self {
    case .stories15m: "a"
    case .b: "b"
    case .c: "c"
    case .d: "d"
    case .tiny: "t"
    }
  }

  var context: Int {
    switch self {
    case .stories15m: 256
    case .b, .c: 512
    case .d: 16
    case .tiny: 64
    }
  }

  var batch: Int {
    switch self {
    case .stories15m: 8
    case .b: 4
    case .c, .d, .tiny: 2
    }
  }

  private var shape: (dim: Int, layers: Int, heads: Int, hidden: Int, vocabulary: Int) {
    switch self {
    case .stories15m: (288, 6, 6, 768, 32000)
    case .b: (512, 8, 8, 1376, 4096)
    case .c: (1024, 12, 16, 2752, 8192)
    case .d: (512, 6, 8, 1376, 2048)
    case .tiny: (64, 2, 2, 160, 256)
    }
  }

  func configuration(context: Int) throws -> ModelConfiguration {
    let s = shape
    let json = """
      {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": \(s.dim),
       "intermediate_size": \(s.hidden), "num_hidden_layers": \(s.layers), "num_attention_heads": \(s.heads),
       "num_key_value_heads": \(s.heads), "vocab_size": \(s.vocabulary), "max_position_embeddings": \(context),
       "rms_norm_eps": 1e-5, "tie_word_embeddings": true}
      """
    return try ModelConfiguration(json: Array(json.utf8), source: rawValue)
  }
}

extension ModelConfiguration {
  /// Floating-point operations of a training step a token, as the PyTorch baseline counts them: 6 per weight of a matrix
  /// product, the output projection included, and causal attention's 6 per layer, width and visible token.
  func operationsPerToken(context: Int) -> Double {
    let layer = hiddenSize * (queryKeyValueWidth + queryWidth) + 3 * hiddenSize * feedForwardSize
    return 6 * Double(layerCount * layer + vocabularySize * hiddenSize)
      + 6 * Double(layerCount * queryWidth * context)
  }
}
