public import Checkpoints
public import Formats

/// What calibration did to one matrix product of a layer, and how far it is from what it was.
public struct ProductFigures: Sendable, Hashable {
  /// The checkpoint name of its first tensor.
  public var name: String
  public var format: MXFormat
  /// ‖W - Ŵ‖² / ‖W‖² of the reparameterised weight.
  public var weightError = 0.0
  /// ‖(W - Ŵ)X‖² / ‖WX‖² over the calibration tokens; nil where no text was looked at.
  public var outputError: Double?
  /// The same for rounding to nearest with scales by the rule `floor`.
  public var nearestError: Double?
  /// Relative damping of the second moments, raises included.
  public var damping: Double?
  /// Why and how far damping had to be raised, in order.
  public var dampingRaises: [String] = []
  /// Inputs that are 0 on all calibration tokens; their weights become 0.
  public var deadChannels = 0
  /// AWQ: the chosen ratio in twentieths, and the module's loss relative to no scaling.
  public var scalingCandidate: Int?
  public var scalingLoss: Double?
  /// MagR: how much row maxima fell, and ‖(W' - W)X‖² / ‖WX‖².
  public var maximaReduction: Double?
  public var reductionError: Double?
  /// RoSTE: whether the site is rotated.
  public var rotates: Bool?

  public init(name: String, format: MXFormat) {
    self.name = name
    self.format = format
  }

  public var json: JSONValue {
    var object = JSONObject()
    object["name"] = .string(name)
    object["format"] = .string(format.name)
    object["weight_error"] = .number(weightError)
    object["output_error"] = outputError.map { .number($0) }
    object["nearest_error"] = nearestError.map { .number($0) }
    object["damping"] = damping.map { .number($0) }
    object["damping_raises"] = .array(dampingRaises.map { .string($0) })
    object["dead_channels"] = .integer(deadChannels)
    object["scaling_candidate"] = scalingCandidate.map { .integer($0) }
    object["scaling_loss"] = scalingLoss.map { .number($0) }
    object["maxima_reduction"] = maximaReduction.map { .number($0) }
    object["reduction_error"] = reductionError.map { .number($0) }
    object["rotates"] = rotates.map { .bool($0) }
    return .object(object)
  }

  /// nil for what is no such object.
  public init?(json: JSONValue) {
    guard let object = json.object, let name = object["name"]?.string, let text = object["format"]?.string,
      let format = try? MXFormat(named: text), let weightError = object["weight_error"]?.double,
      let raises = object["damping_raises"]?.array, let dead = object["dead_channels"]?.integer
    else { return nil }
    self.init(name: name, format: format)
    self.weightError = weightError
    outputError = object["output_error"]?.double
    nearestError = object["nearest_error"]?.double
    damping = object["damping"]?.double
    dampingRaises = raises.compactMap(\.string)
    deadChannels = dead
    scalingCandidate = object["scaling_candidate"]?.integer
    scalingLoss = object["scaling_loss"]?.double
    maximaReduction = object["maxima_reduction"]?.double
    reductionError = object["reduction_error"]?.double
    rotates = object["rotates"]?.bool
  }
}
