public import Tensors

/// Values for every parameter of a model (weights, or their gradients): one flat buffer a unit, and the matrices in it
/// by the names the arithmetic uses.
///
/// Under ``UnitSharing/layers`` the buffers of several units are names of the same memory, which holds the values of the
/// unit that was written last.
public final class Parameters {
  public let configuration: ModelConfiguration
  public let layout: ParameterLayout
  public let units: [UnitParameters]
  public let layers: [LayerParameters]

  /// (V, D)
  public var embedding: Tensor
  /// (D)
  public var finalNorm: Tensor
  /// (V, D); the embedding itself where the head is tied.
  public var head: Tensor

  public init(_ configuration: ModelConfiguration, in arena: Arena, sharing: UnitSharing = .everyUnit) {
    let c = configuration
    self.configuration = c
    layout = ParameterLayout(c)
    units =
      switch sharing {
      case .everyUnit: layout.units.map { UnitParameters($0, in: arena) }
      case .layers: Self.sharedUnits(layout, c, in: arena)
      }
    layers = (0..<c.layerCount).map { [units] in LayerParameters(units[$0 + 1], c) }
    embedding = units[0].flat.region(0, rows: c.vocabularySize, columns: c.hiddenSize)
    let last = units[units.count - 1]
    finalNorm = last.flat.region(0, rows: 1, columns: c.hiddenSize)
    head = c.tiedHead
      ? units[0].flat.region(0, rows: c.vocabularySize, columns: c.hiddenSize)
      : last.flat.region(c.hiddenSize, rows: c.vocabularySize, columns: c.hiddenSize)
  }

  /// One buffer for all layers. The embedding is read first and the head last, so one buffer does for these as well; a
  /// tied head keeps the embedding in use for the whole pass, and is itself a single norm.
  private static func sharedUnits(
    _ layout: ParameterLayout, _ c: ModelConfiguration, in arena: Arena
  ) -> [UnitParameters] {
    let last = layout.units.count - 1
    let layers = layout.units[1..<last]
    precondition(layers.allSatisfy { $0.hasPlaces(of: layers[1]) }, "layers that share memory differ in their layout")
    func buffer(_ units: [UnitLayout]) -> Tensor {
      Tensor(rows: 1, columns: units.map(\.elementCount).max() ?? 0, in: arena)
    }
    let ends = c.tiedHead ? buffer([layout.units[0]]) : buffer([layout.units[0], layout.units[last]])
    let layer = buffer(Array(layers))
    return layout.units.enumerated().map { index, unit in
      if index == last && c.tiedHead { return UnitParameters(unit, in: arena) }
      return index == 0 || index == last ? UnitParameters(unit, at: ends) : UnitParameters(unit, at: layer)
    }
  }
}

/// The flat buffer of one unit.
public final class UnitParameters {
  public let layout: UnitLayout
  /// (1, elements), parameters one after the other as the layout says.
  public var flat: Tensor

  init(_ layout: UnitLayout, in arena: Arena) {
    self.layout = layout
    flat = Tensor(rows: 1, columns: layout.elementCount, in: arena)
  }

  /// At the start of memory that other units use as well.
  init(_ layout: UnitLayout, at shared: borrowing Tensor) {
    self.layout = layout
    flat = shared.region(0, rows: 1, columns: layout.elementCount)
  }
}

/// One transformer layer. Legend: D hidden, H·d query width, G·d key width, W = H·d + 2·G·d, F feed-forward.
/// Tensors that this architecture lacks have no elements.
public final class LayerParameters {
  public var queryKeyValue: Tensor  // (W, D)  q_proj, k_proj, v_proj
  public var output: Tensor  // (D, H·d)  o_proj
  public var gateUp: Tensor  // (2F, D)  gate_proj, up_proj
  public var down: Tensor  // (D, F)  down_proj
  public var inputNorm: Tensor  // (D)  input_layernorm
  public var postAttentionNorm: Tensor  // (D)  post_attention_layernorm
  public var queryNorm: Tensor  // (d)  q_norm
  public var keyNorm: Tensor  // (d)  k_norm
  public var queryKeyValueBias: Tensor  // (W)
  public var outputBias: Tensor  // (D)
  public var gateUpBias: Tensor  // (2F)
  public var downBias: Tensor  // (D)

  init(_ unit: UnitParameters, _ c: ModelConfiguration) {
    let D = c.hiddenSize, F = c.feedForwardSize, W = c.queryKeyValueWidth
    var offset = 0
    func next(_ rows: Int, _ columns: Int, if present: Bool = true) -> Tensor {
      let tensor = unit.flat.region(offset, rows: present ? rows : 0, columns: columns)
      offset += tensor.count
      return tensor
    }
    queryKeyValue = next(W, D)
    output = next(D, c.queryWidth)
    gateUp = next(2 * F, D)
    down = next(D, F)
    inputNorm = next(1, D)
    postAttentionNorm = next(1, D)
    queryNorm = next(1, c.headDimension, if: c.queryKeyNorm)
    keyNorm = next(1, c.headDimension, if: c.queryKeyNorm)
    queryKeyValueBias = next(1, W, if: c.queryKeyValueBias)
    outputBias = next(1, D, if: c.outputBias)
    gateUpBias = next(1, 2 * F, if: c.feedForwardBias)
    downBias = next(1, D, if: c.feedForwardBias)
    precondition(offset == unit.layout.elementCount, "layer views cover \(offset) of \(unit.layout.elementCount) elements")
  }
}
