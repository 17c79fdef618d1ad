/// One stored tensor: its checkpoint name, shape and place in its unit.
public struct ParameterSpec: Sendable, Hashable {
  public enum Role: Sendable, Hashable {
    case embedding, linear, norm, bias, head
  }

  public let name: String
  public let role: Role
  public let shape: [Int]
  /// First element in the unit's flat buffer.
  public let offset: Int

  /// A vector counts as rows of one element, so that ranks can share it like any matrix.
  public var rows: Int { shape[0] }
  public var columns: Int { shape.count == 2 ? shape[1] : 1 }
  public var count: Int { rows * columns }
  /// Weight decay is for matrices only.
  public var decays: Bool { shape.count == 2 }
}

/// What is gathered, computed and freed together: the embedding, one transformer layer, the head.
public struct UnitLayout: Sendable, Hashable {
  public let name: String
  public let parameters: [ParameterSpec]
  public let elementCount: Int

  init(_ name: String, _ tensors: [(name: String, role: ParameterSpec.Role, shape: [Int])]) {
    var offset = 0
    var parameters: [ParameterSpec] = []
    for tensor in tensors {
      let spec = ParameterSpec(name: tensor.name, role: tensor.role, shape: tensor.shape, offset: offset)
      parameters.append(spec)
      offset += spec.count
    }
    self.name = name
    self.parameters = parameters
    elementCount = offset
  }

  /// Whether the tensors of both, whatever their names, have the same shapes at the same places.
  func hasPlaces(of other: UnitLayout) -> Bool {
    elementCount == other.elementCount && parameters.count == other.parameters.count
      && zip(parameters, other.parameters).allSatisfy {
        $0.role == $1.role && $0.shape == $1.shape && $0.offset == $1.offset
      }
  }
}

/// Every tensor of a model, unit by unit, in the order of the forward pass.
///
/// Inside a layer q, k, v stand together, and gate and up do: each group is one matrix product.
public struct ParameterLayout: Sendable, Hashable {
  public let units: [UnitLayout]

  public static let embeddingName = "model.embed_tokens.weight"
  public static let headName = "lm_head.weight"
  public static let finalNormName = "model.norm.weight"

  public init(_ c: ModelConfiguration) {
    var units = [UnitLayout("embedding", [(Self.embeddingName, .embedding, [c.vocabularySize, c.hiddenSize])])]
    for layer in 0..<c.layerCount {
      let p = "model.layers.\(layer)."
      var tensors: [(name: String, role: ParameterSpec.Role, shape: [Int])] = [
        (p + "self_attn.q_proj.weight", .linear, [c.queryWidth, c.hiddenSize]),
        (p + "self_attn.k_proj.weight", .linear, [c.keyWidth, c.hiddenSize]),
        (p + "self_attn.v_proj.weight", .linear, [c.keyWidth, c.hiddenSize]),
        (p + "self_attn.o_proj.weight", .linear, [c.hiddenSize, c.queryWidth]),
        (p + "mlp.gate_proj.weight", .linear, [c.feedForwardSize, c.hiddenSize]),
        (p + "mlp.up_proj.weight", .linear, [c.feedForwardSize, c.hiddenSize]),
        (p + "mlp.down_proj.weight", .linear, [c.hiddenSize, c.feedForwardSize]),
        (p + "input_layernorm.weight", .norm, [c.hiddenSize]),
        (p + "post_attention_layernorm.weight", .norm, [c.hiddenSize]),
      ]
      if c.queryKeyNorm {
        tensors.append((p + "self_attn.q_norm.weight", .norm, [c.headDimension]))
        tensors.append((p + "self_attn.k_norm.weight", .norm, [c.headDimension]))
      }
      if c.queryKeyValueBias {
        tensors.append((p + "self_attn.q_proj.bias", .bias, [c.queryWidth]))
        tensors.append((p + "self_attn.k_proj.bias", .bias, [c.keyWidth]))
        tensors.append((p + "self_attn.v_proj.bias", .bias, [c.keyWidth]))
      }
      if c.outputBias { tensors.append((p + "self_attn.o_proj.bias", .bias, [c.hiddenSize])) }
      if c.feedForwardBias {
        tensors.append((p + "mlp.gate_proj.bias", .bias, [c.feedForwardSize]))
        tensors.append((p + "mlp.up_proj.bias", .bias, [c.feedForwardSize]))
        tensors.append((p + "mlp.down_proj.bias", .bias, [c.hiddenSize]))
      }
      units.append(UnitLayout("layer \(layer)", tensors))
    }
    var head: [(name: String, role: ParameterSpec.Role, shape: [Int])] = [(Self.finalNormName, .norm, [c.hiddenSize])]
    if !c.tiedHead { head.append((Self.headName, .head, [c.vocabularySize, c.hiddenSize])) }
    units.append(UnitLayout("head", head))
    self.units = units
  }

  public var elementCount: Int { units.reduce(0) { $0 + $1.elementCount } }
  public var names: [String] { units.flatMap { $0.parameters.map(\.name) } }

  /// Every parameter with the index of its unit.
  public var all: [(unit: Int, spec: ParameterSpec)] {
    units.enumerated().flatMap { index, unit in unit.parameters.map { (index, $0) } }
  }
}
