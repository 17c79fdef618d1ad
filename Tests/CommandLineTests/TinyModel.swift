import Foundation

/// A Llama of one layer over the 256 bytes, as a Hugging Face folder written by hand.
enum TinyModel {
  static let context = 64

  /// - Parameters:
  ///   - architecture: what `config.json` claims.
  ///   - unusable: the tensor whose element 40 becomes NaN.
  ///   - scaling: factors of whole tensors.
  static func write(
    to folder: String, architecture: String = "LlamaForCausalLM", unusable: String? = nil, scaling: [String: Float] = [:]
  ) throws {
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try Data(configuration(architecture).utf8).write(to: URL(fileURLWithPath: folder + "/config.json"))
    try Data(tokenizer.utf8).write(to: URL(fileURLWithPath: folder + "/tokenizer.json"))
    try weights(unusable: unusable, scaling: scaling).write(to: URL(fileURLWithPath: folder + "/model.safetensors"))
  }

  static let tensors: [(name: String, shape: [Int])] = [
    ("model.embed_tokens.weight", [256, 32]),
    ("model.layers.0.input_layernorm.weight", [32]),
    ("model.layers.0.mlp.down_proj.weight", [32, 64]),
    ("model.layers.0.mlp.gate_proj.weight", [64, 32]),
    ("model.layers.0.mlp.up_proj.weight", [64, 32]),
    ("model.layers.0.post_attention_layernorm.weight", [32]),
    ("model.layers.0.self_attn.k_proj.weight", [32, 32]),
    ("model.layers.0.self_attn.o_proj.weight", [32, 32]),
    ("model.layers.0.self_attn.q_proj.weight", [32, 32]),
    ("model.layers.0.self_attn.v_proj.weight", [32, 32]),
    ("model.norm.weight", [32]),
  ]

  private static func configuration(_ architecture: String) -> String {
    """
    {"architectures": ["\(architecture)"], "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
     "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": \(context),
     "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true,
     "torch_dtype": "float32"}
    """
  }

  /// Byte-level BPE without merges: a token a byte, the id its value.
  private static var tokenizer: String {
    var next: UInt32 = 0x100
    let vocabulary = (UInt32(0)...255).map { byte -> String in
      let isPrintable = (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte)
      let scalar = isPrintable ? byte : next
      if !isPrintable { next += 1 }
      let character = String(Unicode.Scalar(scalar)!)
      return (character == "\"" || character == "\\" ? "\"\\\(character)\"" : "\"\(character)\"") + ":\(byte)"
    }
    return """
      {"added_tokens":[],"normalizer":null,
      "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
      "post_processor":null,"decoder":{"type":"ByteLevel"},
      "model":{"type":"BPE","vocab":{\(vocabulary.joined(separator: ","))},"merges":[]}}
      """
  }

  private static func weights(unusable: String?, scaling: [String: Float]) throws -> Data {
    var header: [String] = [], data = Data(), state: UInt32 = 1
    for (name, shape) in tensors {
      let start = data.count
      for index in 0..<shape.reduce(1, *) {
        state = state &* 1_664_525 &+ 1_013_904_223
        let noise = Float(state >> 8) / Float(1 << 24) - 0.5
        let value = name == unusable && index == 40 ? Float.nan : shape.count == 1 ? 1 + noise / 8 : noise / 4
        data.append(littleEndian: (value * (scaling[name] ?? 1)).bitPattern)
      }
      let dimensions = shape.map(String.init).joined(separator: ",")
      header.append("\"\(name)\":{\"dtype\":\"F32\",\"shape\":[\(dimensions)],\"data_offsets\":[\(start),\(data.count)]}")
    }
    var text = "{" + header.joined(separator: ",") + "}"
    text += String(repeating: " ", count: (8 - text.utf8.count % 8) % 8)
    var file = Data()
    file.append(littleEndian: UInt64(text.utf8.count))
    return file + Data(text.utf8) + data
  }
}

extension Data {
  fileprivate mutating func append(littleEndian value: some FixedWidthInteger) {
    for shift in stride(from: 0, to: value.bitWidth, by: 8) { append(UInt8(truncatingIfNeeded: value >> shift)) }
  }
}
