public import Formats
import Kernels
public import Quantization
public import Tensors

/// The arithmetic of every linear layer of a model: one operator for each matrix product of a layer, one for the head.
///
/// Query, key and value are one product, and so are gate and up: their tensors stand together in the unit.
public final class LinearOperators {
  /// Legend: D hidden, H·d query width, W query, key and value together, F feed-forward.
  struct Layer {
    let queryKeyValue: any LinearOperator  // D -> W
    let output: any LinearOperator  // H·d -> D
    let gateUp: any LinearOperator  // D -> 2F
    let down: any LinearOperator  // F -> D
  }

  let layers: [Layer]
  let head: any LinearOperator
  private let low: [LowLayer]
  private let scratch: LowPrecisionScratch?
  private let activations: MXFormat?
  /// The products that run in fewer bits, and those that the plan left in fp32, with the reason.
  public let decisions: [LinearPlan.Decision]

  /// A low-precision operator and where its weight stands.
  private struct LowLayer {
    let linear: LowPrecisionLinear
    let unit: Int
    /// Tensors of the unit that are this weight, one after the other.
    let tensors: Range<Int>
    let place: Place

    enum Place { case queryKeyValue(Int), output(Int), gateUp(Int), down(Int), head }
  }

  /// Everything in fp32.
  public init(layerCount: Int) {
    let fp32 = FullPrecisionLinear()
    layers = Array(repeating: Layer(queryKeyValue: fp32, output: fp32, gateUp: fp32, down: fp32), count: layerCount)
    head = fp32
    low = []
    scratch = nil
    activations = nil
    decisions = []
  }

  /// - Parameters:
  ///   - plan: the arithmetic of every product.
  ///   - quantization: which weights have codes.
  ///   - formats: of the run's passes.
  ///   - tokens: of one pass; `headTokens` of one chunk of logits.
  ///   - sharing: whether all layers pack their weights into one place: each is then prepared before every use.
  public init(
    _ c: ModelConfiguration, _ plan: LinearPlan, quantization: QuantizationPlan, formats: [MXFormat], tokens: Int,
    headTokens: Int, seed: UInt64, sharing: UnitSharing = .everyUnit, weights: Arena, scratch arena: Arena
  ) {
    activations = quantization.activations
    decisions = plan.decisions
    let layout = ParameterLayout(c)
    func needs(_ product: ProductShape) -> LowPrecisionLinear.Capacities {
      let specs = layout.units[product.unit].parameters[product.tensors]
      let hasCodes = specs.allSatisfy { quantization.isQuantized($0.name) }
      return LowPrecisionLinear.capacities(
        plan.arithmetic(of: product.name), inputs: product.inputs, outputs: product.outputs,
        tokens: product.isHead ? headTokens : tokens, formats: hasCodes ? formats : [])
    }
    let lowProducts = ProductShape.all(c).filter { !plan.arithmetic(of: $0.name).isFullPrecision }
    let shared = Self.scratch(lowProducts, plan, formats, tokens: tokens, headTokens: headTokens, seed: seed, in: arena)
    scratch = shared
    // The same product of all layers, four of them.
    let places: [WeightMemory?] = (0..<4).map { place in
      guard sharing == .layers else { return nil }
      let alike = (0..<c.layerCount).map { ProductShape.ofLayer($0, c)[place] }
      return WeightMemory(alike.map(needs), in: weights)
    }

    var low: [LowLayer] = []
    func make(_ product: ProductShape, _ place: LowLayer.Place, in memory: WeightMemory?) -> any LinearOperator {
      let arithmetic = plan.arithmetic(of: product.name)
      guard !arithmetic.isFullPrecision else { return FullPrecisionLinear() }
      let linear = LowPrecisionLinear(
        product.name, arithmetic, inputs: product.inputs, outputs: product.outputs,
        tokens: product.isHead ? headTokens : tokens, shared: shared,
        memory: memory ?? WeightMemory([needs(product)], in: weights))
      low.append(LowLayer(linear: linear, unit: product.unit, tensors: product.tensors, place: place))
      return linear
    }
    layers = (0..<c.layerCount).map { i in
      let p = ProductShape.ofLayer(i, c)
      return Layer(
        queryKeyValue: make(p[0], .queryKeyValue(i), in: places[0]), output: make(p[1], .output(i), in: places[1]),
        gateUp: make(p[2], .gateUp(i), in: places[2]), down: make(p[3], .down(i), in: places[3]))
    }
    head = make(ProductShape.ofHead(c), .head, in: nil)
    self.low = low
  }

  /// Memory that activations and gradients pass through: enough for any of the products.
  private static func scratch(
    _ products: [ProductShape], _ plan: LinearPlan, _ formats: [MXFormat], tokens: Int, headTokens: Int, seed: UInt64,
    in arena: Arena
  ) -> LowPrecisionScratch {
    var left = Operand.Capacity(), right = Operand.Capacity(), rotated = 0
    for product in products {
      let arithmetic = plan.arithmetic(of: product.name), T = product.isHead ? headTokens : tokens
      let needs = LowPrecisionLinear.capacities(
        arithmetic, inputs: product.inputs, outputs: product.outputs, tokens: T, formats: formats)
      left.include(needs.left)
      right.include(needs.right)
      if arithmetic.isHALO || arithmetic.rotatesFullWidth {
        let padded = (T + 127) / 128 * 128
        rotated = max(rotated, padded * max(product.inputs, product.outputs), product.inputs * product.outputs)
      }
    }
    return LowPrecisionScratch(seed: seed, left: left, right: right, rotatedElements: rotated, in: arena)
  }

  /// Where the coming passes stand in the run.
  public func place(step: Int, firstToken: Int = 0) {
    scratch?.step = step
    scratch?.firstToken = firstToken
  }

  /// Packs the weights of a unit. Where layers share memory this is what makes them this unit's.
  ///
  /// - Parameters:
  ///   - uses: what follows before the unit is prepared again; ``Workspace/uses(of:_:)`` names it for a pass.
  ///   - codes: of the unit's tensors by index, contiguous for neighbours that are all quantized; nil where a tensor has
  ///     none.
  public func prepare(
    unit: Int, of w: Parameters, for uses: WeightUses = .all, codes: (_ tensor: Int) -> WeightCodes?
  ) {
    for layer in low where layer.unit == unit {
      // One missing code keeps the whole product on the fp32 values: they are what its tensors hold.
      let hasCodes = layer.tensors.allSatisfy { codes($0) != nil }
      let first = hasCodes ? codes(layer.tensors.lowerBound) : nil
      let linear = layer.linear
      switch layer.place {
      case .queryKeyValue(let i):
        linear.prepare(weight: w.layers[i].queryKeyValue, codes: first, activations: activations, for: uses)
      case .output(let i):
        linear.prepare(weight: w.layers[i].output, codes: first, activations: activations, for: uses)
      case .gateUp(let i):
        linear.prepare(weight: w.layers[i].gateUp, codes: first, activations: activations, for: uses)
      case .down(let i):
        linear.prepare(weight: w.layers[i].down, codes: first, activations: activations, for: uses)
      case .head: linear.prepare(weight: w.head, codes: first, activations: nil, for: uses)
      }
    }
  }
}

/// One matrix product of the model: its size, and the tensors that are its weight.
public struct ProductShape: Sendable, Hashable {
  /// The checkpoint name of the weight's first tensor.
  public let name: String
  public let inputs: Int
  public let outputs: Int
  let unit: Int
  let tensors: Range<Int>
  let isHead: Bool

  /// Query, key, value; attention output; gate, up; down.
  static func ofLayer(_ i: Int, _ c: ModelConfiguration) -> [ProductShape] {
    let p = "model.layers.\(i).", D = c.hiddenSize, F = c.feedForwardSize
    func shape(_ name: String, _ inputs: Int, _ outputs: Int, _ tensors: Range<Int>) -> ProductShape {
      ProductShape(name: p + name, inputs: inputs, outputs: outputs, unit: i + 1, tensors: tensors, isHead: false)
    }
    return [
      shape("self_attn.q_proj.weight", D, c.queryKeyValueWidth, 0..<3),
      shape("self_attn.o_proj.weight", c.queryWidth, D, 3..<4),
      shape("mlp.gate_proj.weight", D, 2 * F, 4..<6),
      shape("mlp.down_proj.weight", F, D, 6..<7),
    ]
  }

  /// A tied head is the embedding's matrix.
  static func ofHead(_ c: ModelConfiguration) -> ProductShape {
    ProductShape(
      name: ParameterLayout.headName, inputs: c.hiddenSize, outputs: c.vocabularySize,
      unit: c.tiedHead ? 0 : c.layerCount + 1, tensors: c.tiedHead ? 0..<1 : 1..<2, isHead: true)
  }

  /// Every product of a model, in the order of the forward pass.
  public static func all(_ c: ModelConfiguration) -> [ProductShape] {
    (0..<c.layerCount).flatMap { ofLayer($0, c) } + [ofHead(c)]
  }

  /// The names of the tensors that are multiplied together.
  public func tensorNames(_ layout: ParameterLayout) -> [String] {
    layout.units[unit].parameters[tensors].map(\.name)
  }
}
