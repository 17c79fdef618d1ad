import Formats
import Quantization
import Tensors
import Testing
import Transformer

/// A tiny model and the online rotations that it is given.
struct RotatedModel: Sendable, CustomTestStringConvertible {
  let name: String
  let json: String
  /// (site, rotation, layers)
  let rotations: [Rotation]
  var testDescription: String { name }

  struct Rotation: Sendable {
    let site: OnlineTransforms.Site
    let rotation: OnlineRotation
    let layers: [Int]

    init(_ site: OnlineTransforms.Site, _ kind: OnlineRotation.Kind, signs: UInt64? = nil, layers: [Int] = [0, 1]) {
      (self.site, rotation, self.layers) = (site, OnlineRotation(kind, signSeed: signs), layers)
    }
  }

  // 96 = 12 · 8 and 160 = 20 · 8 have Hadamard matrices that are not Sylvester's; 24 is no width of a block.
  private static let llama = tinyConfiguration(
    "LlamaForCausalLM", ["hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 4])
  // Six heads have no Hadamard matrix; biases and one key head beside norms of queries and keys.
  private static let qwen = tinyConfiguration(
    "Qwen3ForCausalLM",
    ["hidden_size": 80, "intermediate_size": 112, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 16,
      "attention_bias": true, "tie_word_embeddings": true])
  private static let wide = tinyConfiguration(
    "LlamaForCausalLM",
    ["hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 32,
      "attention_bias": true, "mlp_bias": true])

  static let all: [RotatedModel] = [
    RotatedModel(name: "llama, qkv in blocks", json: llama, rotations: [.init(.queryKeyValue, .blocks(32), signs: 5)]),
    RotatedModel(name: "llama, o in blocks", json: llama, rotations: [.init(.output, .blocks(16), signs: 6)]),
    RotatedModel(name: "llama, o in full", json: llama, rotations: [.init(.output, .full, signs: 7, layers: [1])]),
    RotatedModel(name: "llama, o across heads", json: llama, rotations: [.init(.output, .acrossHeads, signs: 8)]),
    RotatedModel(name: "llama, gate and up in full", json: llama, rotations: [.init(.gateUp, .full)]),
    RotatedModel(name: "llama, down in full", json: llama, rotations: [.init(.down, .full, signs: .max)]),
    RotatedModel(
      name: "llama, everywhere", json: llama,
      rotations: [
        .init(.queryKeyValue, .full, signs: 1), .init(.output, .acrossHeads), .init(.gateUp, .blocks(32), signs: 2),
        .init(.down, .blocks(32), signs: 3, layers: [0]), .init(.down, .full, layers: [1]),
      ]),
    RotatedModel(name: "qwen3, queries and keys", json: qwen, rotations: [.init(.queryKey, .blocks(16), signs: 9)]),
    RotatedModel(
      name: "qwen3, everywhere", json: qwen,
      rotations: [
        .init(.queryKeyValue, .blocks(16), signs: 1), .init(.output, .full), .init(.gateUp, .full, signs: 2),
        .init(.down, .blocks(16)), .init(.queryKey, .blocks(16)),
      ]),
    RotatedModel(
      name: "llama with biases, everywhere", json: wide,
      rotations: [
        .init(.queryKeyValue, .blocks(64)), .init(.output, .blocks(128), signs: 4), .init(.gateUp, .blocks(16)),
        .init(.down, .blocks(128), signs: 1), .init(.queryKey, .blocks(32), signs: 3),
      ]),
  ]

  /// The model without rotations.
  func plain() throws -> ModelConfiguration { try ModelConfiguration(json: Array(json.utf8), source: name) }

  var transforms: OnlineTransforms {
    var transforms = OnlineTransforms()
    for entry in rotations {
      for layer in entry.layers { transforms[layer, entry.site] = entry.rotation }
    }
    return transforms
  }

  func rotated() throws -> ModelConfiguration {
    var c = try plain()
    c.transforms = transforms
    return c
  }

  /// The same function twice: ordinary weights, and the weights of the rotated model.
  func weights(seed: UInt64, in arena: Arena) throws -> (plain: Parameters, rotated: Parameters) {
    let plain = Parameters(try plain(), in: arena), rotated = Parameters(try rotated(), in: arena)
    fillRandomly(plain, seed: seed)
    fillRandomly(rotated, seed: seed)
    try rotated.rotate(inverse: false, in: arena)
    return (plain, rotated)
  }
}

extension Parameters {
  /// Every weight W by W R, or W Rᵀ, with the rotations of the configuration.
  func rotate(inverse: Bool, in arena: Arena) throws {
    let rotations = try OnlineRotations(configuration, in: arena)
    for (i, layer) in layers.enumerated() {
      rotations.rotateWeight(&layer.queryKeyValue, layer: i, site: .queryKeyValue, inverse: inverse)
      rotations.rotateWeight(&layer.output, layer: i, site: .output, inverse: inverse)
      rotations.rotateWeight(&layer.gateUp, layer: i, site: .gateUp, inverse: inverse)
      rotations.rotateWeight(&layer.down, layer: i, site: .down, inverse: inverse)
    }
  }
}
