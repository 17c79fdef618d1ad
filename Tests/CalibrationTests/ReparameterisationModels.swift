import Foundation
import Kernels
import Tensors
import Testing
import Transformer

/// Shapes that differ in everything a reparameterisation has to respect: heads that share values, biases, tied heads,
/// norms of queries and keys, widths that are no power of two.
struct ReparameterisationModel: Sendable, CustomTestStringConvertible {
  let name: String
  let className: String
  let changes: [String: Int]
  var flags: [String: Bool] = [:]
  var testDescription: String { name }

  static let llama = ReparameterisationModel(
    name: "llama, D 96, 4 heads on 2", className: "LlamaForCausalLM",
    changes: [
      "hidden_size": 96, "intermediate_size": 160,
      "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    ])
  static let wide = ReparameterisationModel(
    name: "mistral, D 128, every head its own", className: "MistralForCausalLM",
    changes: [
      "hidden_size": 128, "intermediate_size": 256,
      "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 16,
    ])

  static let all: [ReparameterisationModel] = [
    llama, wide,
    ReparameterisationModel(
      name: "llama with biases, tied, D 160", className: "LlamaForCausalLM",
      changes: [
        "hidden_size": 160, "intermediate_size": 192, "num_attention_heads": 5, "num_key_value_heads": 5,
        "head_dim": 32,
      ], flags: ["attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true]),
    ReparameterisationModel(
      name: "qwen2, tied, D 96", className: "Qwen2ForCausalLM",
      changes: ["hidden_size": 96, "intermediate_size": 176, "num_attention_heads": 6, "num_key_value_heads": 3],
      flags: ["tie_word_embeddings": true]),
    ReparameterisationModel(
      name: "qwen3, tied, D 80, 12 heads on 4", className: "Qwen3ForCausalLM",
      changes: [
        "hidden_size": 80, "intermediate_size": 112, "num_attention_heads": 12, "num_key_value_heads": 4,
        "head_dim": 20,
      ],
      flags: ["tie_word_embeddings": true]),
  ]

  func configuration() throws -> ModelConfiguration { try ModelConfiguration(json: Array(json()), source: name) }

  /// `config.json`
  func json() throws -> Data {
    var keys: [String: Any] = [
      "architectures": [className], "num_hidden_layers": 2, "vocab_size": 61, "max_position_embeddings": 64,
      "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 100.0,
    ]
    for (key, value) in changes { keys[key] = value }
    for (key, value) in flags { keys[key] = value }
    return try JSONSerialization.data(withJSONObject: keys, options: .sortedKeys)
  }
}

/// Prints a measured figure where `MFQAT_FIGURES` asks for it.
func figure(_ text: @autoclosure () -> String) {
  if ProcessInfo.processInfo.environment["MFQAT_FIGURES"] != nil { print("figure:", text()) }
}

/// Numbers of a seed: reproducible, by index.
struct Draws: Sendable {
  private let random: CounterRandom
  init(_ seed: UInt64, _ stream: String) { random = CounterRandom(seed: seed, stream: stream) }

  func uniform(_ i: Int) -> Double { random.uniform(UInt64(i)) }

  func normal(_ i: Int) -> Double {
    let u = max(random.uniform(UInt64(2 * i)), 1e-300), v = random.uniform(UInt64(2 * i + 1))
    return (-2 * log(u)).squareRoot() * cos(2 * .pi * v)
  }

  func laplace(_ i: Int) -> Double {
    let u = uniform(i) - 0.5
    return -(u < 0 ? -1 : 1) * log(max(1 - 2 * abs(u), 1e-300))
  }

  /// Student's t with `degrees` degrees of freedom.
  func student(_ i: Int, degrees: Int) -> Double {
    let stride = degrees + 1
    let chi = (1...degrees).reduce(0.0) { $0 + normal(i * stride + $1) * normal(i * stride + $1) }
    return normal(i * stride) / (chi / Double(degrees)).squareRoot()
  }
}

extension Tensor {
  borrowing func floats() -> [Float] {
    let values = span
    return (0..<count).map { values[$0] }
  }

  mutating func fill(_ value: (Int) -> Double) {
    var values = mutableSpan
    for i in values.indices { values[i] = Float(value(i)) }
  }

  /// self[:, column] *= factor
  mutating func scale(column: Int, by factor: Float) {
    let (rows, columns) = (rows, columns)
    var values = mutableSpan
    for i in 0..<rows { values[i * columns + column] *= factor }
  }

  mutating func scale(row: Int, by factor: Float) {
    let columns = columns
    var values = mutableSpan
    for j in 0..<columns { values[row * columns + j] *= factor }
  }
}

/// ‖a - b‖² / ‖b‖²
func relativeError(_ a: [Float], _ b: [Float]) -> Double {
  var difference = 0.0, norm = 0.0
  for (x, y) in zip(a, b) {
    difference += (Double(x) - Double(y)) * (Double(x) - Double(y))
    norm += Double(y) * Double(y)
  }
  return difference / norm
}

extension Parameters {
  /// Weights far from zero and norms far from one, so that a wrong order, sign or transpose shows.
  func fillRandomly(seed: UInt64) {
    for (unit, spec) in layout.all {
      let draws = Draws(seed, spec.name)
      var region = units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
      region.fill { i in
        switch spec.role {
        case .embedding: 0.4 * draws.normal(i)
        case .linear, .head: 1.1 * draws.normal(i) / Double(spec.columns).squareRoot()
        case .norm: 1 + 0.3 * draws.normal(i)
        case .bias: 0.3 * draws.normal(i)
        }
      }
    }
  }

  /// The same weights under another configuration: its head is a copy of the embedding where this one's is tied.
  func copied(as target: ModelConfiguration, in arena: Arena) -> Parameters {
    let copy = Parameters(target, in: arena)
    copy.embedding.copy(from: embedding)
    copy.finalNorm.copy(from: finalNorm)
    copy.head.copy(from: head)
    for i in 1...target.layerCount { copy.units[i].flat.copy(from: units[i].flat) }
    return copy
  }

  /// A workspace after the forward pass over the test's tokens.
  func workspace(sequences: Int = 2, length: Int = 16, in arena: Arena) throws -> Workspace {
    let space = try Workspace(configuration, sequences: sequences, length: length, purpose: .inference, in: arena)
    let random = CounterRandom(seed: 7, stream: "tokens")
    for t in 0..<space.tokens {
      space.ids[t] = Int32(random.integer(UInt64(t), below: UInt64(configuration.vocabularySize)))
    }
    return space
  }
}
