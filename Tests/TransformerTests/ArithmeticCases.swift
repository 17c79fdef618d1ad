import Formats
import Kernels
import Quantization
import Tensors
import Testing
import Transformer

/// One way to compute a model: the arithmetic of its products, and what its weights are quantized to.
struct ArithmeticCase: Sendable, CustomTestStringConvertible {
  let name: String
  var arithmetic = LinearArithmetic()
  var format: MXFormat?
  var activations: MXFormat?
  /// Whether the second layer's gate and up stay in fp32, and its output product in bf16.
  var isMixed = false
  var testDescription: String { name }

  init(_ name: String, _ precision: MatmulPrecision, _ change: (inout ArithmeticCase) -> Void = { _ in }) {
    self.name = name
    arithmetic.forward = precision
    arithmetic.backward = precision
    arithmetic.weightGradient = precision
    arithmetic.rotationBlock = 32
    change(&self)
  }

  /// Every precision and policy; signs that change with the step; stochastic rounding; weights with codes that bytes
  /// carry and that they do not.
  static let all: [ArithmeticCase] = [
    ArithmeticCase("fp32", .fp32),
    ArithmeticCase("fp32, activations rounded", .fp32) { $0.activations = .mxint8; $0.format = .mxint8 },
    ArithmeticCase("bf16", .bf16),
    ArithmeticCase("bf16, mxint4 weights", .bf16) { $0.format = .mxint4 },
    ArithmeticCase("int8", .int8),
    ArithmeticCase("int8, redrawn, stochastic, mixed", .int8) {
      $0.arithmetic.signs = .redraw
      $0.arithmetic.gradientRounding = .stochastic
      $0.isMixed = true
    },
    ArithmeticCase("int8, full width, no signs", .int8) {
      $0.arithmetic.rotatesFullWidth = true
      $0.arithmetic.signs = .none
    },
    ArithmeticCase("int8, mxfp8 weights", .int8) { $0.format = .mxfp8_e4m3 },
    ArithmeticCase("mx, stochastic", .mx) { $0.arithmetic.gradientRounding = .stochastic },
    ArithmeticCase("mx, mxint8 weights, mxint4 gradients, redrawn", .mx) {
      $0.format = .mxint8
      $0.arithmetic.format = .mxint4
      $0.arithmetic.gradientRounding = .stochastic
      $0.arithmetic.signs = .redraw
    },
    ArithmeticCase("halo0", .int8) { $0.arithmetic.policy = .halo0 },
    ArithmeticCase("halo1, redrawn", .int8) {
      $0.arithmetic.policy = .halo1
      $0.arithmetic.signs = .redraw
    },
    ArithmeticCase("halo2, full width, stochastic", .int8) {
      $0.arithmetic.policy = .halo2
      $0.arithmetic.rotatesFullWidth = true
      $0.arithmetic.gradientRounding = .stochastic
    },
  ]

  func operators(
    _ c: ModelConfiguration, _ quantization: QuantizationPlan, tokens: Int, sharing: UnitSharing, weights: Arena,
    scratch: Arena
  ) -> LinearOperators {
    var plan = LinearPlan()
    for product in ProductShape.all(c) {
      var wish = arithmetic
      // As a run has it: the head keeps scales of its own.
      if product.name == ParameterLayout.headName, wish.isHALO { wish.policy = .contraction }
      if isMixed && product.name.contains("layers.1.mlp.gate") { wish = .fullPrecision }
      if isMixed && product.name.contains("layers.1.self_attn.o") {
        wish.forward = .bf16
        wish.backward = .bf16
      }
      plan.add(
        product.name, inputs: product.inputs, outputs: product.outputs, tokens: tokens, wish: wish, hasCodes: false,
        cost: nil)
    }
    return LinearOperators(
      c, plan, quantization: quantization, formats: format.map { [$0] } ?? [], tokens: tokens,
      headTokens: LanguageHead(tokens: tokens, vocabulary: c.vocabularySize).chunk, seed: 9, sharing: sharing,
      weights: weights, scratch: scratch)
  }

  /// Four layers of widths that rotations divide, so that every policy has something to do.
  static let models: [TinyModel] = [
    TinyModel(name: "llama of four layers", json: wide("LlamaForCausalLM", ["attention_bias": true])),
    TinyModel(
      name: "qwen3 of four layers, tied", json: wide("Qwen3ForCausalLM", ["head_dim": 16, "tie_word_embeddings": true])),
  ]

  static func wide(_ className: String, _ changes: [String: (any Sendable)?] = [:]) -> String {
    tinyConfiguration(
      className,
      ["hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4].merging(changes) { $1 })
  }
}

/// Losses and gradients of one pass, to compare bits.
struct PassResult: Equatable {
  let losses: [UInt64]
  /// By unit.
  let gradients: [[UInt32]]

  init(_ space: Workspace, _ gradients: [[Float]]) {
    losses = space.losses.map(\.bitPattern)
    self.gradients = gradients.map { $0.map(\.bitPattern) }
  }

  /// "losses", "unit 3": short, since a report of two whole models that differ takes minutes to print.
  func parts(differingFrom other: PassResult) -> [String] {
    (losses == other.losses ? [] : ["losses"])
      + gradients.indices.filter { gradients[$0] != other.gradients[$0] }.map { "unit \($0)" }
  }

  var isFinite: Bool {
    losses.allSatisfy { Double(bitPattern: $0).isFinite }
      && gradients.allSatisfy { $0.allSatisfy { Float(bitPattern: $0).isFinite } }
  }
}

/// Runs a model in one of the ways, step by step.
final class ModelUnderTest {
  static let sequences = 2, length = 20

  let c: ModelConfiguration
  let arithmetic: ArithmeticCase
  let memory = Arena("test")
  let full: CodedModel
  let linear: LinearOperators
  let space: Workspace
  private let sharing: UnitSharing
  private let slot: Parameters, gradients: Parameters

  init(_ model: TinyModel, _ arithmetic: ArithmeticCase, sharing: UnitSharing, recompute: Bool) throws {
    c = try model.configuration()
    self.arithmetic = arithmetic
    self.sharing = sharing
    full = try CodedModel(c, format: arithmetic.format, activations: arithmetic.activations, in: memory)
    let tokens = Self.sequences * Self.length
    linear = arithmetic.operators(c, full.plan, tokens: tokens, sharing: sharing, weights: memory, scratch: memory)
    space = try Workspace(
      c, sequences: Self.sequences, length: Self.length, purpose: .training, recompute: recompute,
      activationFormat: arithmetic.activations, linear: linear, in: memory)
    slot = Parameters(c, in: memory, sharing: sharing)
    gradients = Parameters(c, in: memory, sharing: sharing)
  }

  func step(_ step: Int) -> PassResult {
    let ids = randomTokens(space.tokens, vocabulary: c.vocabularySize, seed: 2 + UInt64(step))
    space.fill(ids, targets: nextTokens(ids, length: Self.length))
    linear.place(step: step, firstToken: 80)
    gradients.poison()
    switch sharing {
    case .everyUnit:
      for unit in full.parameters.units.indices {
        linear.prepare(unit: unit, of: full.parameters) { full.codes(unit: unit, tensor: $0) }
      }
      DecoderModel.lossAndGradients(full.parameters, gradients, space, scale: 0.05)
      return PassResult(space, gradients.units.map { $0.flat.floats() })
    case .layers:
      let visitor = SlotVisitor(full, slot: slot, gradients: gradients, linear, space)
      DecoderModel.lossAndGradients(slot, gradients, space, scale: 0.05, visiting: visitor)
      return PassResult(space, visitor.handedOver)
    }
  }
}
