public import Formats
public import Kernels
import Quantization
public import Tensors

/// Memory for one forward (and backward) pass of a fixed shape, laid out once.
///
/// Legend: B sequences of S tokens, T = B·S.
public final class Workspace {
  public enum Purpose: Sendable {
    /// Keeps what backward needs of every layer.
    case training
    /// One layer's memory serves all.
    case inference
  }

  public let sequences: Int
  public let length: Int
  public let purpose: Purpose
  /// Whether backward runs a layer's forward again, so that one layer's activations serve all and each keeps its input
  /// alone: a third more arithmetic for a fraction of the memory.
  public let recomputes: Bool
  /// Linear inputs are rounded to this format on the fly.
  public let activationFormat: MXFormat?

  public var tokens: Int { sequences * length }

  /// The arithmetic of the linear layers; fp32 unless a run says otherwise.
  public let linear: LinearOperators
  let attention: Attention
  let rotary: RotaryTables
  /// Applied to what flows through the sites of a reparameterised model.
  public let rotations: OnlineRotations
  public let head: LanguageHead

  public var ids: HostBuffer<Int32>  // (T)
  public var targets: HostBuffer<Int32>  // (T), -1 where nothing is scored
  public var loss: HostBuffer<Double>  // (T) nats
  let residuals: [Residual]  // layers + 1
  let layers: [LayerActivations]  // all the same object where one layer's memory serves all
  /// The final norm's output, (T, D).
  public var hidden: Tensor
  var finalRstd: Tensor  // (T)
  public var logits: Tensor  // (chunk, V)
  var tile: Tensor  // scratch of attention
  let gradients: GradientScratch?

  public init(
    _ c: ModelConfiguration, sequences: Int, length: Int, purpose: Purpose, recompute: Bool = false,
    activationFormat: MXFormat? = nil, linear: LinearOperators? = nil, in arena: Arena
  ) throws(ModelError) {
    precondition(sequences > 0 && length > 0, "workspace of \(sequences) sequences of \(length) tokens")
    precondition(!recompute || purpose == .training, "only training has a backward that could recompute")
    guard length <= c.maximumPositions else {
      throw ModelError("model", "context \(length) exceeds max_position_embeddings \(c.maximumPositions)",
        hint: "Choose a context of at most \(c.maximumPositions).")
    }
    if let window = c.slidingWindow, length > window {
      throw ModelError("model", "context \(length) exceeds the sliding window of \(window) tokens, which is not supported",
        hint: "Choose a context of at most \(window).")
    }
    let T = sequences * length
    self.sequences = sequences
    self.length = length
    self.purpose = purpose
    recomputes = recompute
    self.activationFormat = activationFormat
    self.linear = linear ?? LinearOperators(layerCount: c.layerCount)
    attention = Attention(
      sequences: sequences, length: length, queryHeads: c.queryHeads, keyHeads: c.keyHeads,
      headDimension: c.headDimension)
    rotary = RotaryTables(c.rotary, positions: length, headDimension: c.headDimension, in: arena)
    rotations = try OnlineRotations(c, in: arena)
    head = LanguageHead(tokens: T, vocabulary: c.vocabularySize)
    ids = HostBuffer(count: T, in: arena)
    targets = HostBuffer(count: T, in: arena)
    loss = HostBuffer(count: T, in: arena)
    // One object may serve layers with a rotation and layers without.
    let rotatesOutput = !c.transforms.layers(with: .output).isEmpty
    func activations() -> LayerActivations {
      LayerActivations(c, tokens: T, keepsOutputInput: activationFormat != nil || rotatesOutput, in: arena)
    }
    switch purpose {
    case .training:
      residuals = (0...c.layerCount).map { _ in Residual(T, c.hiddenSize, in: arena) }
      layers =
        recompute
        ? Array(repeating: activations(), count: c.layerCount)
        : (0..<c.layerCount).map { _ in activations() }
      gradients = GradientScratch(c, tokens: T, in: arena)
    case .inference:
      let residual = Residual(T, c.hiddenSize, in: arena)
      let layer = activations()
      residuals = Array(repeating: residual, count: c.layerCount + 1)
      layers = Array(repeating: layer, count: c.layerCount)
      gradients = nil
    }
    hidden = Tensor(rows: T, columns: c.hiddenSize, in: arena)
    finalRstd = Tensor(rows: 1, columns: T, in: arena)
    logits = Tensor(rows: head.chunk, columns: c.vocabularySize, in: arena)
    tile = Tensor(rows: attention.scratchRows, columns: attention.scratchColumns, in: arena)
  }
}

extension Workspace {
  /// What the weights of a unit are multiplied with between `willUse(unit:_:)` and the next one.
  public func uses(of unit: Int, _ direction: PassDirection) -> WeightUses {
    // The head's product runs in both directions at once, a tied one with the matrix of unit 0.
    guard (1...layers.count).contains(unit) else { return .all }
    switch direction {
    case .forward: return .forward
    case .backward: return recomputes && unit < layers.count ? .all : .inputGradient
    }
  }
}

/// The residual stream between two layers, (T, D).
package final class Residual {
  package var x: Tensor
  init(_ T: Int, _ D: Int, in arena: Arena) { x = Tensor(rows: T, columns: D, in: arena) }
}

/// What one layer's backward needs of its forward. Inputs of linear layers are rotated where their site is, and rounded.
package final class LayerActivations {
  package var normed: Tensor  // (T, D)  input of q, k, v
  var rstd: Tensor  // (T)
  package var queryKeyValue: Tensor  // (T, W); rotated in place unless queries and keys are normed
  package var queryKey: Tensor  // (T, H·d + G·d)  normed and rotated; empty without query-key norm
  var headRstd: Tensor  // (H + G, T)
  package var attended: Tensor  // (T, H·d)  of attention, neither rotated nor rounded
  /// (T, H·d)  input of o where that differs from `attended`, which attention's backward needs; else the same memory.
  package var outputInput: Tensor
  let hasOutputInput: Bool
  var lse: Tensor  // (B·S·H)
  package var middle: Tensor  // (T, D)  residual after attention
  package var middleNormed: Tensor  // (T, D)  input of gate and up
  var middleRstd: Tensor  // (T)
  package var gateUp: Tensor  // (T, 2F)
  package var gated: Tensor  // (T, F)  input of down

  init(_ c: ModelConfiguration, tokens T: Int, keepsOutputInput: Bool, in arena: Arena) {
    func tensor(_ columns: Int, if present: Bool = true) -> Tensor {
      Tensor(rows: present ? T : 0, columns: columns, in: arena)
    }
    normed = tensor(c.hiddenSize)
    rstd = Tensor(rows: 1, columns: T, in: arena)
    queryKeyValue = tensor(c.queryKeyValueWidth)
    queryKey = tensor(c.queryWidth + c.keyWidth, if: c.queryKeyNorm)
    headRstd = Tensor(rows: c.queryKeyNorm ? c.queryHeads + c.keyHeads : 0, columns: T, in: arena)
    attended = tensor(c.queryWidth)
    hasOutputInput = keepsOutputInput
    outputInput = keepsOutputInput ? tensor(c.queryWidth) : attended.rows(0..<T)
    lse = tensor(c.queryHeads)
    middle = tensor(c.hiddenSize)
    middleNormed = tensor(c.hiddenSize)
    middleRstd = Tensor(rows: 1, columns: T, in: arena)
    gateUp = tensor(2 * c.feedForwardSize)
    gated = tensor(c.feedForwardSize)
  }
}

/// Gradients of activations: alive during the backward of one layer, shared by all.
final class GradientScratch {
  var residual: Tensor  // (T, D)  dx, updated in place from last layer to first
  var hidden: Tensor  // (T, D)  gradient of a norm's output
  var attended: Tensor  // (T, H·d)
  var queryKeyValue: Tensor  // (T, W)
  var queryKey: Tensor  // (T, H·d + G·d); empty without query-key norm
  var gateUp: Tensor  // (T, 2F)
  var gated: Tensor  // (T, F)
  var delta: Tensor  // (T, H)

  init(_ c: ModelConfiguration, tokens T: Int, in arena: Arena) {
    residual = Tensor(rows: T, columns: c.hiddenSize, in: arena)
    hidden = Tensor(rows: T, columns: c.hiddenSize, in: arena)
    attended = Tensor(rows: T, columns: c.queryWidth, in: arena)
    queryKeyValue = Tensor(rows: T, columns: c.queryKeyValueWidth, in: arena)
    queryKey = Tensor(rows: c.queryKeyNorm ? T : 0, columns: c.queryWidth + c.keyWidth, in: arena)
    gateUp = Tensor(rows: T, columns: 2 * c.feedForwardSize, in: arena)
    gated = Tensor(rows: T, columns: c.feedForwardSize, in: arena)
    delta = Tensor(rows: T, columns: c.queryHeads, in: arena)
  }
}
