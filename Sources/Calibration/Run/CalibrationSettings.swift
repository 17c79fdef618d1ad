public import Checkpoints
public import Formats
public import Kernels
public import Quantization

/// Everything that decides what a calibration makes of a model and a sample of text.
public struct CalibrationSettings: Sendable, Hashable {
  public var method: CalibrationMethod
  /// Of the anchor's codes.
  public var format: MXFormat
  /// Formats whose slices count, with the weight of each; empty for the anchor's own codes alone.
  public var targets: [RoundingTarget] = []
  /// Formats of single tensors; the others have ``format``.
  public var allocation: [String: MXFormat] = [:]
  public var selection = TensorSelection()
  /// nil: by the method and the format.
  public var scales: ScaleSearch?
  public var damping = 0.01
  /// Elements of a block rotation.
  public var rotationBlock = 32
  /// Of the random signs of rotations; nil for none.
  public var signSeed: UInt64?
  /// How much of the range SmoothQuant moves into the weights.
  public var alpha = 0.5
  /// Tokens that the losses of AWQ's candidates are measured on, at most.
  public var searchTokens = 4096
  /// Format that the inputs of linear layers will be rounded to when the model runs; nil for none.
  public var activations: MXFormat?
  /// Statistics of inputs as they will be rounded, rather than as they are.
  public var roundsInputs = false

  public init(_ method: CalibrationMethod, format: MXFormat) {
    self.method = method
    self.format = format
  }

  /// Refuses what contradicts itself.
  public func check() throws(CalibrationError) {
    guard targets.isEmpty || format.isAnchor else {
      throw CalibrationError("targets", "\(format) is no anchor: nothing is cut from it",
        hint: "Name the format itself, or an anchor (mxint8, mxfp8_e4m3, mxfp8_e5m2) with these targets.")
    }
    for target in targets where !SlicePlan.formatsCut(from: format).contains(target.format) {
      throw CalibrationError("targets", "\(target.format) cannot be cut from \(format)")
    }
    guard targets.isEmpty || [.columns, .rotatedColumns].contains(method.rounding) else {
      throw CalibrationError("targets", "\(method.rounding.rawValue) rounds for its own format alone",
        hint: "Use a method with gptq or mr-gptq.")
    }
    for format in [format] + allocation.values {
      if let (problem, hint) = rounding(format).problem { throw CalibrationError("method '\(method)'", problem, hint: hint) }
    }
    if let scales, scales != .rule(.floor), format.isAnchor {
      throw CalibrationError("scales", "\(format) is an anchor, whose scales follow the rule floor",
        hint: "Other scales are for formats from which nothing is cut.")
    }
    // The reference runs in unscaled coordinates, and AWQ scales rows of v and up: their corrections would undo it.
    if case .awq = method.scaling, method.correctsUpstream {
      throw CalibrationError("method '\(method)'", "upstream does not go with the scales of AWQ",
        hint: "Leave one of them out, or scale by smoothquant.")
    }
    guard [16, 32, 64, 128].contains(rotationBlock) else {
      throw CalibrationError("rotation block", "\(rotationBlock) is not 16, 32, 64 or 128")
    }
    guard (0...1).contains(alpha) else { throw CalibrationError("alpha", "\(alpha) is not between 0 and 1") }
    guard damping > 0, damping <= 1 else { throw CalibrationError("damping", "\(damping) is not above 0 and at most 1") }
    guard !roundsInputs || activations != nil else {
      throw CalibrationError("rounded inputs", "no activation format is named", hint: "Name one with --activations.")
    }
  }

  public func format(of tensor: String) -> MXFormat { allocation[tensor] ?? format }

  /// Solvers search: integers clip, since their steps are even and a smaller range makes all of them finer; floats, whose
  /// fine steps are near 0 anyway, lose more by clipping than they gain. An anchor keeps the rule `floor`, without which
  /// nothing could be cut from it.
  private func defaultScales(_ format: MXFormat) -> ScaleSearch {
    if method.rounding == .nearest { return .rule(.floor) }
    return format.family == .integer ? .search(norm: 2.4, from: -3, through: 1) : .betterOfTwo
  }

  /// How a weight in `format` is rounded.
  func rounding(_ format: MXFormat) -> RoundingPlan {
    let scales = format.isAnchor ? ScaleSearch.rule(.floor) : self.scales ?? defaultScales(format)
    let targets = format.isAnchor ? targets : []
    let rounding: RoundingMethod =
      switch method.rounding {
      case .nearest: .nearest
      case .columns: .columns(targets.isEmpty ? .current : .frozen)
      case .blocks: .blocks
      case .rotatedColumns: .columns(.frozen)
      }
    return RoundingPlan(
      format: format, targets: targets, method: rounding, scales: scales,
      order: method.rounding == .rotatedColumns ? .descendingEnergy : .natural, damping: damping)
  }

  /// Whether the scales of what is written follow the rule `floor`, so that lower formats can be cut.
  var hasFloorScales: Bool {
    Set(allocation.values).union([format]).allSatisfy { rounding($0).scales == .rule(.floor) }
  }

  /// Whether blocks are clipped.
  var clips: Bool { method.scaling == .awq(clips: true) }

  /// The reparameterisations of the method.
  public var recipe: ReparameterisationRecipe {
    var recipe =
      switch method.rotation {
      case .none: ReparameterisationRecipe.none
      case .quaRot: ReparameterisationRecipe.quaRot(signSeed: signSeed)
      case .blocks: ReparameterisationRecipe.blocks(rotationBlock, signSeed: signSeed)
      }
    recipe.choosesRotations = method.choosesRotations
    recipe.scaling =
      switch method.scaling {
      case .none: .none
      case .smoothQuant: .smoothQuant(alpha: alpha)
      case .awq(let clips): .awq(clips: clips)
      }
    if method.reducesMaxima { recipe.magR = MagR() }
    recipe.recordsNormScales = method.recordsNormScales
    return recipe
  }

  /// All of it: what an anchor's metadata states and a resumed calibration has to find unchanged.
  public var json: JSONValue {
    var object = JSONObject()
    object["method"] = .string(method.description)
    object["format"] = .string(format.name)
    object["targets"] = .array(targets.map { ["format": .string($0.format.name), "weight": .number($0.weight)] })
    var formats = JSONObject()
    for (name, format) in allocation.sorted(by: { $0.key < $1.key }) { formats[name] = .string(format.name) }
    object["allocation"] = .object(formats)
    object["include"] = .array(selection.include.map { .string($0) })
    object["exclude"] = .array(selection.exclude.map { .string($0) })
    object["scales"] = .string("\(rounding(format).scales)")
    object["named_scales"] = scales.map { .string("\($0)") } ?? .null
    object["damping"] = .number(damping)
    object["rotation_block"] = .integer(rotationBlock)
    object["reparameterisations"] = recipe.json
    object["search_tokens"] = .integer(searchTokens)
    object["activations"] = activations.map { .string($0.name) } ?? .null
    object["rounded_inputs"] = .bool(roundsInputs)
    return .object(object)
  }
}
