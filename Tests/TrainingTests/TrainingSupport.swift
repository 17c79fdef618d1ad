import Checkpoints
import Communication
import Foundation
import Settings
import Tensors
import TestSupport
import Text
import Training
import Transformer

/// Small models and runs for the suites of this target.
enum Fixture {
  /// A Llama with grouped queries whose feed-forward width is no multiple of 32: blocks have tails.
  static let model = model()

  static func model(
    hidden: Int = 64, feedForward: Int = 80, layers: Int = 2, vocabulary: Int = 96, tied: Bool = true
  ) -> String {
    """
    {hidden_size: \(hidden), intermediate_size: \(feedForward), num_hidden_layers: \(layers), num_attention_heads: 4,
     num_key_value_heads: 2, vocab_size: \(vocabulary), max_position_embeddings: 64, rms_norm_eps: 1.0e-5,
     tie_word_embeddings: \(tied), architectures: [LlamaForCausalLM]}
    """
  }

  static func settings(_ body: String) throws -> RunConfiguration {
    try RunConfiguration(yaml: body, file: "test.yaml")
  }

  /// A run of a new small model; `quantization` and others are the bodies of these sections.
  static func run(
    model: String = model, steps: Int = 4, batch: Int = 12, lanes: Int = 12, accumulation: Int = 1,
    quantization: String = "{}", precision: String = "{}", communication: String = "{}", overrides: [String] = []
  ) throws -> RunConfiguration {
    try RunConfiguration(
      yaml: """
      model: {config: \(model), tokenizer: none}
      data: {train: [none.txt], context: 16}
      quantization: \(quantization)
      training: {steps: \(steps), batch: \(batch), lanes: \(lanes), accumulation: \(accumulation), learning_rate: 3.0e-3,
                 warmup_steps: 1, seed: 7, precision: \(precision)}
      communication: \(communication)
      """, file: "test.yaml", overrides: overrides)
  }

  /// Tokens that a model can learn something from.
  static func tokens(_ count: Int = 4000, vocabulary: Int = 96) -> TokenStream {
    let random = CounterRandom(seed: 11, stream: "test tokens")
    var ids: [Int32] = []
    for i in 0..<count {
      let previous = ids.last.map { Int($0) } ?? 0
      let jump = random.integer(UInt64(i), below: 4)
      ids.append(Int32((previous * 5 + Int(jump)) % vocabulary))
    }
    return .memory(ids)
  }

  /// The model of the settings; the fixture's own where they name a path.
  static func configuration(of settings: RunConfiguration) throws -> ModelConfiguration {
    let mapping =
      try settings.model.config
      ?? Fixture.settings(
        "model: {config: \(model), tokenizer: none}\ndata: {train: [x], context: 16}\ntraining: {steps: 1}"
      ).model.config!
    return try ModelConfiguration(json: Array(mapping.json.utf8), source: "test")
  }

  /// A trainer with its starting weights.
  static func trainer(
    _ settings: RunConfiguration, on communicator: Communicator, tokens: TokenStream = tokens()
  ) throws -> Trainer {
    let trainer = try Trainer(
      settings, model: configuration(of: settings), tokens: tokens, communicator: communicator)
    if settings.model.path != nil {
      try trainer.load(from: SyntheticSource(trainer.model, seed: 3))
    } else {
      try trainer.initialize()
    }
    return trainer
  }

  /// Losses, and a content hash of all masters and moments, after every step of a new run on this communicator.
  static func trace(
    _ settings: RunConfiguration, on communicator: Communicator, tokens: TokenStream = tokens()
  ) throws -> Trace {
    let trainer = try trainer(settings, on: communicator, tokens: tokens)
    var trace = Trace()
    for _ in 0..<settings.training.steps {
      let record = try trainer.step()
      trace.losses.append(record.loss.bitPattern)
      trace.norms.append(record.gradientNorm.bitPattern)
      trace.formats.append(record.format)
    }
    for kind in [Trainer.StateKind.master, .firstMoment, .secondMoment] {
      try trainer.forEachGatheredUnit(kind) { spec, values in
        trace.state[("\(kind) " + spec.name)] = unsafe values.withUnsafeBytes { unsafe Checkpoints.ContentHash($0) }
      }
    }
    return trace
  }
}

/// What a run did, to the bit.
struct Trace: Sendable, Equatable {
  var losses: [UInt64] = []
  var norms: [UInt64] = []
  var formats: [String] = []
  var state: [String: Checkpoints.ContentHash] = [:]

  var lossValues: [Double] { losses.map { Double(bitPattern: $0) } }
}

/// A model that is not on disk: values are a function of name and element.
final class SyntheticSource: ModelSource {
  let path = "synthetic"
  let configuration: ModelConfiguration
  let sidecarNames: [String] = []
  private let initialization: Initialization

  init(_ configuration: ModelConfiguration, seed: UInt64) {
    self.configuration = configuration
    initialization = Initialization(seed: seed, standardDeviation: 0.05)
  }

  func sidecar(_ name: String) throws -> [UInt8] { throw ModelError(path, "no file \(name)") }
  func storedFormat(of name: String) -> String? { nil }
  func read(_ parameter: ParameterSpec, rows: Range<Int>, into values: inout MutableSpan<Float>) throws {
    initialization.fill(&values, at: 0, rows: rows, of: parameter)
  }
}
