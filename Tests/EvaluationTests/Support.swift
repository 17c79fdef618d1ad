import Formats
import Foundation
import Kernels
import Tensors
import Transformer

/// Prints a measured figure where `MFQAT_FIGURES` asks for it.
func figure(_ text: @autoclosure () -> String) {
  if ProcessInfo.processInfo.environment["MFQAT_FIGURES"] != nil { print("figure:", text()) }
}

/// A model of two layers with random weights.
struct SmallModel {
  static let vocabulary = 40
  let configuration: ModelConfiguration
  let parameters: Parameters

  init(seed: UInt64, hidden: Int = 24, in arena: Arena) throws {
    let json = """
      {"architectures": ["LlamaForCausalLM"], "hidden_size": \(hidden), "intermediate_size": 40, "num_hidden_layers": 2,
       "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": \(Self.vocabulary), "rms_norm_eps": 1e-5}
      """
    configuration = try ModelConfiguration(json: Array(json.utf8), source: "small model")
    parameters = Parameters(configuration, in: arena)
    let initialization = Initialization(seed: seed, standardDeviation: 0.3)
    for (unit, spec) in parameters.layout.all {
      var region = parameters.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
      var span = region.mutableSpan
      initialization.fill(&span, at: 0, rows: 0..<spec.rows, of: spec)
    }
  }

  static func tokens(_ count: Int, seed: UInt64) -> [Int32] {
    let random = CounterRandom(seed: seed, stream: "tokens")
    return (0..<count).map { Int32(random.integer(UInt64($0), below: UInt64(vocabulary))) }
  }

  /// These weights in `other`, those of the layers' linears rounded to `format`.
  func round(into other: Parameters, to format: MXFormat) {
    for (unit, spec) in parameters.layout.all {
      let own = parameters.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
      var region = other.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
      if spec.role == .linear { BlockCodec.roundTrip(&region, of: own, format: format) } else { region.copy(from: own) }
    }
  }

  /// Logits (T, V) of a single window, computed by the model and widened.
  func logits(_ window: [Int32]) throws -> [[Double]] {
    let arena = Arena("logits"), V = Self.vocabulary
    let space = try Workspace(configuration, sequences: 1, length: window.count, purpose: .inference, in: arena)
    for (t, id) in window.enumerated() {
      space.ids[t] = id
      space.targets[t] = -1
    }
    DecoderModel.loss(parameters, space)
    let logits = space.logits.region(0, rows: window.count, columns: V), span = logits.span
    return (0..<window.count).map { t in (0..<V).map { Double(span[t * V + $0]) } }
  }
}

func logSoftmax(_ logits: [Double]) -> [Double] {
  let most = logits.max()!
  let sum = log(logits.reduce(0) { $0 + exp($1 - most) })
  return logits.map { $0 - most - sum }
}
