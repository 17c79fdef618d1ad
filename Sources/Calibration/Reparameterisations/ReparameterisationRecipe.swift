public import Checkpoints
public import Quantization

/// Every reparameterisation that a calibration applies, as a value: what the anchor's metadata and the fingerprint of a
/// run hold.
///
/// Order, layer by layer: untie the head and fold norms; rotate the residual stream; rotate values; scale one diagonal
/// a site (its statistics taken behind the rotations); rotate weights for the online sites; MagR; then rounding.
public struct ReparameterisationRecipe: Sendable, Hashable {
  public enum Scaling: Sendable, Hashable {
    case none
    case smoothQuant(alpha: Double)
    /// - Parameter clips: also chooses the exponents of blocks (``AWQClip``).
    case awq(clips: Bool)
  }

  /// Gains of norms become 1 and the head a matrix of its own; rotating the residual stream needs it.
  public var foldsNorms = false
  public var rotatesResidual = false
  public var rotatesValues = false
  public var online = OnlineRecipe.none
  /// Drops an online rotation of o or down (with blocks: of any site) where a layer is better off without (RoSTE).
  public var choosesRotations = false
  /// Of all rotations; nil for plain Hadamard matrices.
  public var signSeed: UInt64?
  public var scaling = Scaling.none
  public var magR: MagR?
  /// Records the constants of ``SLaNC``.
  public var recordsNormScales = false

  public init() {}

  /// Weights as they are.
  public static let none = ReparameterisationRecipe()

  /// Fold, R1, values, across heads and down: arXiv 2404.00456.
  public static func quaRot(signSeed: UInt64?, queryKey: Bool = false) -> ReparameterisationRecipe {
    var recipe = ReparameterisationRecipe()
    recipe.foldsNorms = true
    recipe.rotatesResidual = true
    recipe.rotatesValues = true
    recipe.online = .quaRot(queryKey: queryKey)
    recipe.signSeed = signSeed
    return recipe
  }

  /// Blocks of `block` at all four inputs, nothing else: arXiv 2509.23202.
  public static func blocks(_ block: Int, signSeed: UInt64? = nil) -> ReparameterisationRecipe {
    var recipe = ReparameterisationRecipe()
    recipe.online = .blocks(block)
    recipe.signSeed = signSeed
    return recipe
  }
}

extension ReparameterisationRecipe {
  /// Whether weights are in other coordinates afterwards, so that they cannot be compared with those of before.
  public var changesCoordinates: Bool {
    foldsNorms || rotatesResidual || rotatesValues || online != .none || scaling != .none
  }

  /// Sites whose rotation a layer may do without.
  public var freeSites: [OnlineTransforms.Site] {
    guard choosesRotations else { return [] }
    return switch online {
    case .none: []
    case .quaRot: [.output, .down]
    case .blocks: [.queryKeyValue, .output, .gateUp, .down]
    }
  }

  /// All of it, with fixed keys: equal recipes have equal canonical bytes.
  public var json: JSONValue {
    [
      "fold_norms": .bool(foldsNorms),
      "rotate_residual": .bool(rotatesResidual),
      "rotate_values": .bool(rotatesValues),
      "online": onlineJSON,
      "choose_rotations": .bool(choosesRotations),
      // Seeds use all 64 bits, which readers of JSON may not.
      "sign_seed": signSeed.map { .string(String($0)) } ?? .null,
      "scaling": scalingJSON,
      "magr": magR.map(Self.json) ?? .null,
      "record_norm_scales": .bool(recordsNormScales),
    ]
  }

  private var onlineJSON: JSONValue {
    switch online {
    case .none: "none"
    case .quaRot(let queryKey): ["kind": "quarot", "qk": .bool(queryKey)]
    case .blocks(let block): ["kind": "blocks", "block": .integer(block)]
    }
  }

  private var scalingJSON: JSONValue {
    switch scaling {
    case .none: "none"
    case .smoothQuant(let alpha): ["kind": "smoothquant", "alpha": .number(alpha)]
    case .awq(let clips): ["kind": "awq", "clip": .bool(clips)]
    }
  }

  private static func json(_ magR: MagR) -> JSONValue {
    [
      "penalty": .number(magR.penalty), "group": magR.group.map { .integer($0) } ?? .null,
      "iterations": .integer(magR.iterations),
    ]
  }
}
