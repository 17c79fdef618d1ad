package import Formats
public import Kernels
public import Quantization
public import Tensors

/// A linear layer whose products run on packed 8-bit integers or bf16: forward, input gradient, weight gradient.
///
/// Legend: T tokens, K inputs, N outputs; x (T, K), W (N, K), y (T, N). Rotations R are along the contracted axis of both
/// operands, so that they cancel in the product by themselves (policy `contraction`; HALO's are in the file beside this):
///
///   F   y  = Q(x R_K) · Q(W R_K)ᵀ      or Q(x) · Cᵀ with the codes C of a quantized weight, which are what is deployed
///   E   dx = Q(dy R_N) · Q(R_Nᵀ W)     W as the forward saw it (straight-through estimator)
///   G   dW = Q(R_Tᵀ dy)ᵀ · Q(R_Tᵀ x)
///
/// Q: int8 with a scale a vector, blocks of 32 in an MX format, or bf16 (never rotated: its error is relative).
public final class LowPrecisionLinear: LinearOperator {
  public let name: String
  public let arithmetic: LinearArithmetic
  let inputs: Int, outputs: Int

  package let shared: LowPrecisionScratch
  package let axes: RotationAxes
  /// Packed operands, perhaps in turn with other layers: everything below that follows from packing is set by every
  /// `prepare`.
  private let memory: WeightMemory
  /// What the rows of x become for F: it follows from how the weights were packed.
  private var forwardInput = Quantizer(.bf16)
  private var forwardRotation: AxisRotation?
  /// False where bf16 would lose bits of a quantized weight (scales near the ends of fp32): F and E then run in fp32, which
  /// holds them.
  private var isExact = true
  /// Streams of stochastic rounding.
  let inputGradientStream: UInt64, weightGradientStream: UInt64
  /// HALO: the weight's largest magnitude after its rotation.
  var largestWeight: Float = 0

  /// - Parameters:
  ///   - name: of the weight; rotations and random numbers are drawn for it.
  ///   - memory: with room for this layer.
  package init(
    _ name: String, _ arithmetic: LinearArithmetic, inputs: Int, outputs: Int, tokens: Int, shared: LowPrecisionScratch,
    memory: WeightMemory
  ) {
    self.name = name
    self.arithmetic = arithmetic
    self.inputs = inputs
    self.outputs = outputs
    self.shared = shared
    inputGradientStream = CounterRandom.stream(name + " input gradient")
    weightGradientStream = CounterRandom.stream(name + " weight gradient")
    self.memory = memory
    axes = RotationAxes(
      name, arithmetic, inputs: inputs, outputs: outputs, tokens: tokens, seed: shared.seed, in: memory.rotations)
  }

  /// With memory of its own.
  ///
  /// - Parameter formats: those that the weight will have; empty where it stays unquantized.
  package convenience init(
    _ name: String, _ arithmetic: LinearArithmetic, inputs: Int, outputs: Int, tokens: Int, formats: [MXFormat],
    shared: LowPrecisionScratch, in arena: Arena
  ) {
    let needs = LowPrecisionLinear.capacities(
      arithmetic, inputs: inputs, outputs: outputs, tokens: tokens, formats: formats)
    self.init(
      name, arithmetic, inputs: inputs, outputs: outputs, tokens: tokens, shared: shared,
      memory: WeightMemory([needs], in: arena))
  }

  package var forwardWeights: Operand? { arithmetic.forward == .fp32 ? nil : memory.forward }
  package var backwardWeights: Operand? { arithmetic.backward == .fp32 ? nil : memory.backward }

  // MARK: Weights

  /// Packs the weight for the coming passes. Rotations are a function of (seed, layer, step): packed twice in a step, a
  /// weight becomes the same operands.
  ///
  /// - Parameters:
  ///   - uses: the products that follow before the next preparation.
  ///   - codes: of a quantized weight, in the format of the pass.
  package func prepare(
    weight: borrowing Tensor, codes: WeightCodes?, activations: MXFormat?, for uses: WeightUses = .all
  ) {
    // Not when memory is laid out: a dry run touches none.
    if arithmetic.signs == .redraw || memory.rotationsHolder != ObjectIdentifier(self) { axes.draw(step: shared.step) }
    memory.take(for: uses, by: self)
    if arithmetic.isHALO { largestWeight = largest(of: weight, axes.input) }
    let needsBF16 = arithmetic.forward == .bf16 || arithmetic.backward == .bf16
      || arithmetic.forward != .fp32 && codes?.format.element.isByteCarried == false || activations != nil
    isExact = !needsBF16 || codes?.isExactInBF16(rows: outputs, columns: inputs) ?? true
    if uses.contains(.forward) { prepareForward(weight, codes, activations) }
    if uses.contains(.inputGradient) { prepareBackward(weight) }
  }

  private func prepareForward(_ weight: borrowing Tensor, _ codes: WeightCodes?, _ activations: MXFormat?) {
    guard let operand = forwardWeights else { return }
    forwardRotation = nil
    if let codes, arithmetic.forward != .bf16, codes.format.element.isByteCarried,
      activations?.element.isByteCarried ?? true
    {
      unsafe operand.pack(
        rows: outputs, columns: inputs, codes: codes.codes, scales: codes.scales, format: codes.format,
        carriers: shared.carriers(of: codes.format).values)
      let format = activations ?? arithmetic.format
      forwardInput = Quantizer(arithmetic.forward == .mx || activations != nil ? .blocks(format) : .vector)
    } else if codes != nil || arithmetic.forward == .bf16 {
      operand.pack(weight, contracting: .columns, by: Quantizer(.bf16))
      forwardInput = Quantizer(.bf16)
    } else if arithmetic.isHALO {
      forwardInput = Quantizer(.tensor(largest: 0))
      forwardRotation = axes.input
      pack(weight, into: operand, .columns, Quantizer(.tensor(largest: largestWeight)), axes.input)
    } else {
      forwardInput = quantizer(arithmetic.forward)
      forwardRotation = axes.input
      pack(weight, into: operand, .columns, forwardInput, axes.input)
    }
  }

  private func prepareBackward(_ weight: borrowing Tensor) {
    guard let operand = backwardWeights else { return }
    if arithmetic.isHALO {
      prepareBackwardHALO(weight, operand)
    } else if arithmetic.backward == .bf16 {
      operand.pack(weight, contracting: .rows, by: Quantizer(.bf16))
    } else {
      pack(weight, into: operand, .rows, quantizer(arithmetic.backward), axes.output)
    }
  }

  // MARK: Products

  public func forward(_ y: inout Tensor, of x: borrowing Tensor, weight: borrowing Tensor, output: Linear.Output) {
    requireHeld(for: .forward)
    guard let forwardWeights, isExact || forwardInput.elements != .bf16 else {
      return Linear.forward(&y, of: x, weight: weight, output: output)
    }
    var quantizer = forwardInput
    if case .tensor = quantizer.scale {
      quantizer.scale = .tensor(largest: largest(of: x, forwardRotation))
    }
    pack(x, into: shared.left, .columns, quantizer, forwardRotation)
    LowPrecisionProduct.multiply(&y, left: shared.left, right: forwardWeights, output: output)
  }

  public func backwardInput(
    _ dx: inout Tensor, from dy: borrowing Tensor, weight: borrowing Tensor, token: Int, output: Linear.Output
  ) {
    requireHeld(for: .inputGradient)
    guard let backwardWeights, isExact || arithmetic.backward != .bf16 else {
      return Linear.backwardInput(&dx, from: dy, weight: weight, output: output)
    }
    if arithmetic.isHALO { return backwardInputHALO(&dx, from: dy, backwardWeights, token: token) }
    let bits = arithmetic.backward
    pack(
      dy, into: shared.left, .columns, quantizer(bits, gradient: inputGradientStream, token: token),
      bits.isInteger ? axes.output : nil)
    LowPrecisionProduct.multiply(&dx, left: shared.left, right: backwardWeights, output: output)
  }

  public func backwardWeight(
    _ dWeight: inout Tensor, from dy: borrowing Tensor, input x: borrowing Tensor, token: Int, output: Linear.Output
  ) {
    let bits = arithmetic.weightGradient
    guard bits != .fp32 else { return Linear.backwardWeight(&dWeight, from: dy, input: x, output: output) }
    requireHeld(for: [])
    if arithmetic.isHALO { return backwardWeightHALO(&dWeight, from: dy, input: x, token: token) }
    let rotation = bits.isInteger ? axes.tokens : nil
    pack(dy, into: shared.left, .rows, quantizer(bits, gradient: weightGradientStream, token: token), rotation)
    pack(x, into: shared.right, .rows, quantizer(bits), rotation)
    LowPrecisionProduct.multiply(&dWeight, left: shared.left, right: shared.right, output: output)
  }

  private func pack(
    _ x: borrowing Tensor, into operand: Operand, _ contracting: Operand.Contraction, _ quantizer: Quantizer,
    _ rotation: AxisRotation?
  ) {
    if let rotation { rotation.pack(x, into: operand, contracting: contracting, by: quantizer, shared) }
    else { operand.pack(x, contracting: contracting, by: quantizer) }
  }

  /// HALO: the largest magnitude of a whole tensor.
  private func largest(of x: borrowing Tensor, _ rotation: AxisRotation?) -> Float {
    rotation?.largest(of: x, shared) ?? Largest.magnitude(of: x, contracting: .columns)
  }

  private func requireHeld(for uses: WeightUses) {
    precondition(memory.isHeld(by: self, for: uses), "\(name) is multiplied without having been prepared for it")
  }

  // MARK: Quantizers

  /// Of weights and activations: to nearest.
  private func quantizer(_ precision: MatmulPrecision) -> Quantizer {
    switch precision {
    case .fp32: preconditionFailure("fp32 is not quantized")
    case .bf16: Quantizer(.bf16)
    case .int8: Quantizer(.vector)
    case .mx: Quantizer(.blocks(arithmetic.format))
    }
  }

  private func quantizer(_ precision: MatmulPrecision, gradient stream: UInt64, token: Int) -> Quantizer {
    var quantizer = quantizer(precision)
    if precision != .bf16 { quantizer.rounding = rounding(stream, token: token) }
    return quantizer
  }

  /// Stochastic numbers belong to the element's place in the whole step: never to a lane's rank.
  func rounding(_ stream: UInt64, token: Int) -> Quantizer.Rounding {
    guard arithmetic.gradientRounding == .stochastic else { return .nearest }
    // Beyond the largest element there is no upper neighbour to be drawn: scaled by 3/4 nothing gets there (Tseng et al.,
    // arXiv 2502.20586, for FP4). From 6 bits on what is cut off is below the noise.
    let shrink: Float = arithmetic.format.bits <= 4 ? 0.75 : 1
    return .stochastic(
      shared.random(stream), first: (shared.firstToken + token) * outputs, shrink: shrink)
  }

  /// Memory for the operands of a layer of this size.
  package struct Capacities {
    package var forwardWeights = Operand.Capacity(), backwardWeights = Operand.Capacity()
    package var left = Operand.Capacity(), right = Operand.Capacity()
  }

  package static func capacities(
    _ a: LinearArithmetic, inputs K: Int, outputs N: Int, tokens T: Int, formats: [MXFormat]
  ) -> Capacities {
    var all = Capacities()
    func elements(_ precision: MatmulPrecision) -> [Operand.Elements] {
      switch precision {
      case .fp32: []
      case .bf16: [.bf16]
      case .int8: [.int8]
      case .mx: [.blocks]
      }
    }
    // Codes are blocks where bytes carry them, and bf16 where they do not.
    let forward = a.forward == .fp32 ? [] : elements(a.forward) + (formats.isEmpty ? [] : [.blocks, .bf16])
    let multiple = max(32, a.rotationBlock)
    for kind in forward {
      all.left.include(.init(.left, kind, vectors: T, depth: K, multiple: multiple))
      all.forwardWeights.include(.init(.right, kind, vectors: N, depth: K, multiple: multiple))
    }
    for kind in elements(a.backward) {
      // HALO pads tokens to whole blocks.
      all.left.include(.init(.left, kind, vectors: (T + multiple - 1) / multiple * multiple, depth: N, multiple: multiple))
      all.backwardWeights.include(.init(.right, kind, vectors: K, depth: N, multiple: multiple))
    }
    for kind in elements(a.weightGradient) {
      all.left.include(.init(.left, kind, vectors: N, depth: T, multiple: multiple))
      all.right.include(.init(.right, kind, vectors: K, depth: T, multiple: multiple))
    }
    return all
  }
}
