import Formats
import Kernels
import Quantization
import Tensors
import Transformer

/// T tokens through a linear layer of K inputs and N outputs.
struct LayerShape: Hashable {
  let tokens: Int, inputs: Int, outputs: Int

  init(_ tokens: Int, _ inputs: Int, _ outputs: Int) {
    (self.tokens, self.inputs, self.outputs) = (tokens, inputs, outputs)
  }

  var text: String { "\(tokens) x \(inputs) x \(outputs)" }
  var multiplyAdds: Double { Double(tokens) * Double(inputs) * Double(outputs) }
  /// Elements that a pass of the layer quantizes: both operands of three products.
  var packedElements: Double {
    2 * Double(tokens * inputs + inputs * outputs + tokens * outputs)
  }
}

/// What layers of one shape are run on, and what they write.
final class LayerTensors {
  let shape: LayerShape
  var x: Tensor, w: Tensor, dy: Tensor
  var y: Tensor, dx: Tensor, dw: Tensor
  /// Where a product that is repeated alone puts its result.
  var spare: Tensor

  init(_ shape: LayerShape) {
    let arena = Arena("layer"), (T, K, N) = (shape.tokens, shape.inputs, shape.outputs)
    self.shape = shape
    x = Tensor(rows: T, columns: K, in: arena)
    w = Tensor(rows: N, columns: K, in: arena)
    dy = Tensor(rows: T, columns: N, in: arena)
    y = Tensor(rows: T, columns: N, in: arena)
    dx = Tensor(rows: T, columns: K, in: arena)
    dw = Tensor(rows: N, columns: K, in: arena)
    // HALO pads tokens to whole blocks.
    spare = Tensor(rows: 1, columns: max((T + 127) / 128 * 128 * max(K, N), N * K), in: arena)
    x.fillWithNoise(seed: 1)
    w.fillWithNoise(seed: 2)
    dy.fillWithNoise(seed: 3)
  }
}

/// Times of the parts of one layer's passes.
struct LayerTimes {
  typealias Kind = MatrixProduct.Kind

  /// Packing of the weights, once a pass.
  var weights = Sample()
  /// Forward and the gradients as the model calls them.
  var calls: [Kind: Sample] = [:]
  /// Their products alone, on operands that are packed already.
  var products: [Kind: Sample] = [:]

  static let kinds: [Kind] = [.forward, .backwardInput, .backwardWeight]

  /// Processor seconds of turn `i`.
  func call(_ kind: Kind, _ i: Int) -> Double { calls[kind]?.processor[i] ?? 0 }
  /// The part of it that is product; fp32 is nothing else.
  func product(_ kind: Kind, _ i: Int) -> Double { products[kind]?.processor[i] ?? call(kind, i) }
  func preparation(_ i: Int) -> Double { weights.count > i ? weights.processor[i] : 0 }
  func total(_ i: Int) -> Double { preparation(i) + Self.kinds.reduce(0) { $0 + call($1, i) } }
  func productTotal(_ i: Int) -> Double { Self.kinds.reduce(0) { $0 + product($1, i) } }
  /// Rotating, quantizing and packing activations and gradients, and undoing rotations.
  func packing(_ kind: Kind, _ i: Int) -> Double { max(0, call(kind, i) - product(kind, i)) }
  func packingTotal(_ i: Int) -> Double { Self.kinds.reduce(0) { $0 + packing($1, i) } }

  var turns: Int { calls[.forward]?.count ?? 0 }
  func median(_ value: (Int) -> Double) -> Double { (0..<turns).map(value).median }
}

/// One linear layer in one arithmetic, timed turn by turn.
final class MeasuredLayer {
  let arithmetic: LinearArithmetic
  private(set) var times = LayerTimes()

  private let tensors: LayerTensors
  /// Nil for fp32.
  private let low: LowPrecisionLinear?
  private var codes: PackedTensor
  private let format: MXFormat?
  private let forwardOutput: Linear.Output, weightOutput: Linear.Output

  /// - Parameters:
  ///   - format: the weight's own, whose codes are then multiplied; nil for an unquantized weight.
  ///   - forwardOutput: `accumulate` where the layer adds to the residual stream.
  init(
    _ arithmetic: LinearArithmetic, format: MXFormat?, on tensors: LayerTensors,
    forwardOutput: Linear.Output = .overwrite, weightOutput: Linear.Output = .overwrite
  ) {
    let arena = Arena("layer"), shape = tensors.shape
    let (T, K, N) = (shape.tokens, shape.inputs, shape.outputs)
    self.arithmetic = arithmetic
    self.tensors = tensors
    self.format = format
    self.forwardOutput = forwardOutput
    self.weightOutput = weightOutput
    codes = PackedTensor(format ?? .mxint8, rows: format == nil ? 0 : N, columns: K, in: arena)
    if format != nil { BlockCodec.quantize(&codes, from: tensors.w) }
    guard !arithmetic.isFullPrecision else {
      low = nil
      return
    }
    let formats = format.map { [$0] } ?? []
    let needs = LowPrecisionLinear.capacities(arithmetic, inputs: K, outputs: N, tokens: T, formats: formats)
    let rotates = arithmetic.isHALO || arithmetic.rotatesFullWidth
    let shared = LowPrecisionScratch(
      seed: 1, left: needs.left, right: needs.right,
      rotatedElements: rotates ? max((T + 127) / 128 * 128 * max(K, N), N * K) : 0, in: arena)
    let linear = LowPrecisionLinear(
      "bench", arithmetic, inputs: K, outputs: N, tokens: T, formats: formats, shared: shared, in: arena)
    linear.axes.draw(step: 0)
    low = linear
  }

  /// One pass: weights, forward, both gradients. The first turn of a layer is not counted: it meets cold memory.
  func turn(counted: Bool) {
    if let low {
      time({ $0.weights.add($1) }, counted) {
        let own = format.map {
          unsafe WeightCodes(format: $0, codes: codes.codes.unsafeAddress(), scales: codes.scales.unsafeAddress())
        }
        low.prepare(weight: tensors.w, codes: own, activations: nil)
      }
    }
    let linear: any LinearOperator = low ?? FullPrecisionLinear()
    for kind in LayerTimes.kinds {
      time({ $0.calls[kind, default: Sample()].add($1) }, counted) { call(linear, kind) }
      guard let low, let right = packedRight(low, kind) else { continue }
      var result = tensors.spare.region(0, rows: low.shared.left.vectors, columns: right.vectors)
      let output = output(kind)
      time({ $0.products[kind, default: Sample()].add($1) }, counted) {
        LowPrecisionProduct.multiply(&result, left: low.shared.left, right: right, output: output)
      }
    }
  }

  private func call(_ linear: any LinearOperator, _ kind: LayerTimes.Kind) {
    switch kind {
    case .forward: linear.forward(&tensors.y, of: tensors.x, weight: tensors.w, output: output(kind))
    case .backwardInput:
      linear.backwardInput(&tensors.dx, from: tensors.dy, weight: tensors.w, token: 0, output: output(kind))
    case .backwardWeight:
      linear.backwardWeight(&tensors.dw, from: tensors.dy, input: tensors.x, token: 0, output: output(kind))
    }
  }

  private func output(_ kind: LayerTimes.Kind) -> Linear.Output {
    switch kind {
    case .forward: forwardOutput
    case .backwardInput: .overwrite
    case .backwardWeight: weightOutput
    }
  }

  /// The right operand of the product that has just run; nil where it ran in fp32.
  private func packedRight(_ low: LowPrecisionLinear, _ kind: LayerTimes.Kind) -> Operand? {
    switch kind {
    case .forward: low.forwardWeights
    case .backwardInput: low.backwardWeights
    case .backwardWeight: arithmetic.weightGradient == .fp32 ? nil : low.shared.right
    }
  }

  private func time(_ record: (inout LayerTimes, Instant) -> Void, _ counted: Bool, _ work: () -> Void) {
    let start = Instant.now
    work()
    let taken = Instant.now - start
    if counted { record(&times, taken) }
  }
}

extension [MeasuredLayer] {
  /// Turns of all, one after the other, until `seconds` have passed, at least `atLeast`.
  func measure(seconds: Double, atLeast: Int = 3) {
    for layer in self { layer.turn(counted: false) }
    let start = Instant.now.wall
    var turns = 0
    while turns < atLeast || Instant.now.wall - start < seconds {
      for layer in self { layer.turn(counted: true) }
      turns += 1
    }
  }
}
