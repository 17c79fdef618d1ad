import Checkpoints
import Foundation
import Tensors
import Testing
import Transformer

/// `config.json` of a model small enough to differentiate numerically, `changes` applied: a nil removes the key.
func tinyConfiguration(_ className: String = "LlamaForCausalLM", _ changes: [String: (any Sendable)?] = [:]) -> String {
  var keys: [String: Any] = [
    "architectures": [className], "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 51, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 100.0,
  ]
  for (key, value) in changes {
    if let value { keys[key] = value } else { keys[key] = nil }
  }
  let data = try! JSONSerialization.data(withJSONObject: keys, options: [.sortedKeys])  // literals above are valid JSON
  return String(decoding: data, as: UTF8.self)
}

/// A family member with everything that makes it differ from its neighbours.
struct TinyModel: Sendable, CustomTestStringConvertible {
  let name: String
  let json: String
  var testDescription: String { name }

  static let all: [TinyModel] = [
    TinyModel(name: "llama", json: tinyConfiguration()),
    TinyModel(
      name: "llama with biases, tied",
      json: tinyConfiguration(
        "LlamaForCausalLM", ["attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true])),
    TinyModel(name: "mistral", json: tinyConfiguration("MistralForCausalLM", ["num_key_value_heads": 1])),
    TinyModel(name: "qwen2", json: tinyConfiguration("Qwen2ForCausalLM", ["tie_word_embeddings": true])),
    TinyModel(name: "qwen3", json: tinyConfiguration("Qwen3ForCausalLM", ["head_dim": 10])),
    TinyModel(
      name: "qwen3 with biases",
      json: tinyConfiguration("Qwen3ForCausalLM", ["head_dim": 8, "attention_bias": true, "tie_word_embeddings": true])),
  ]

  func configuration() throws -> ModelConfiguration { try ModelConfiguration(json: Array(json.utf8), source: name) }
}

/// Weights far from zero and norms far from one, so that a wrong order, sign or transpose shows.
func fillRandomly(_ parameters: Parameters, seed: UInt64) {
  for (unit, spec) in parameters.layout.all {
    let random = CounterRandom(seed: seed, stream: spec.name)
    func normal(_ i: Int) -> Double {
      let w = random.words(UInt64(i))
      return ((Double(w.0) + Double(w.1) + Double(w.2) + Double(w.3)) * 0x1p-32 - 2) * 3.0.squareRoot()
    }
    let fill: (Int) -> Double =
      switch spec.role {
      case .embedding: { 0.4 * normal($0) }
      case .linear, .head: { 1.1 * normal($0) / Double(spec.columns).squareRoot() }
      case .norm: { 1 + 0.2 * normal($0) }
      case .bias: { 0.3 * normal($0) }
      }
    parameters.fill(unit, spec, (0..<spec.count).map { Float(fill($0)) })
  }
}

/// Random tokens of `vocabulary`.
func randomTokens(_ count: Int, vocabulary: Int, seed: UInt64) -> [Int32] {
  let random = CounterRandom(seed: seed, stream: "tokens")
  return (0..<count).map { Int32(random.integer(UInt64($0), below: UInt64(vocabulary))) }
}

/// One tensor of a model folder made for a test.
struct StoredTensor {
  var name: String
  var type = SafeTensorsType.f32
  var shape: [Int]
  var values: [Float]
}

/// The tensors that a configuration asks for, with random values.
func tensors(of configuration: ModelConfiguration, seed: UInt64) -> [StoredTensor] {
  let arena = Arena("test"), parameters = Parameters(configuration, in: arena)
  fillRandomly(parameters, seed: seed)
  return parameters.layout.all.map { StoredTensor(name: $1.name, shape: $1.shape, values: parameters.values($0, $1)) }
}

/// Writes `config.json` and `model.safetensors`; values of integer types are zeros.
func writeModel(_ json: String, _ tensors: [StoredTensor], to folder: TemporaryFolder) throws {
  try folder.write(json, "config.json")
  let writer = try SafeTensorsWriter(
    folder.path + "/model.safetensors",
    tensors: tensors.map { SafeTensorsWriter.Declaration($0.name, $0.type, $0.shape) })
  for tensor in tensors {
    if tensor.type.isReadable {
      try writer.append(tensor.name, tensor.values.span)
    } else {
      try writer.append(tensor.name, bytes: [UInt8](repeating: 0, count: tensor.values.count * tensor.type.bits / 8).span)
    }
  }
  try writer.commit()
}
