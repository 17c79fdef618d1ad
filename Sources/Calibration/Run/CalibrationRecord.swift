public import Checkpoints
public import Quantization
public import Transformer

/// One more unit is done.
public struct CalibrationProgress: Sendable {
  /// "layer 3"
  public let unit: String
  public let done: Int
  public let total: Int
  /// Of the unit's products.
  public let figures: [ProductFigures]
  public let seconds: Double
  /// Whether it was done before this calibration was interrupted.
  public let isResumed: Bool
}

/// What a calibration was, and what it found layer by layer: in the anchor's metadata and on the screen.
public struct CalibrationRecord: Sendable {
  public let settings: CalibrationSettings
  /// Which tokens were looked at; nil where none were.
  public let sample: String?
  public let notes: [String]
  public let ranks: Int
  public internal(set) var figures: [ProductFigures] = []
  public internal(set) var transforms = OnlineTransforms()
  public internal(set) var isReparameterised = false
  /// Constants of the norms where the method records them.
  public internal(set) var normScales: SLaNC?
  public internal(set) var bitsPerWeight = 32.0
  public internal(set) var seconds = 0.0
  /// What a rank was expected to hold.
  public let memory: CalibrationMemory?
  /// The most memory of a rank that was resident at once; 0 where the system does not say.
  public internal(set) var peakBytes = 0
  private var normLayers: [SLaNC.Layer] = []

  init(_ settings: CalibrationSettings, sample: String?, notes: [String], ranks: Int, memory: CalibrationMemory?) {
    self.settings = settings
    self.sample = sample
    self.notes = notes
    self.ranks = ranks
    self.memory = memory
  }

  mutating func add(_ unit: UnitStore.Unit, seconds: Double) {
    figures += unit.figures
    self.seconds += seconds
    if unit.normScales.count == 2 {
      normLayers.append(SLaNC.Layer(postAttention: unit.normScales[0], postFeedForward: unit.normScales[1]))
      normScales = SLaNC(normLayers)
    }
  }

  /// For the anchor: the same bytes on any number of ranks and at any speed.
  public var metadata: JSONValue {
    var object = JSONObject()
    object["settings"] = settings.json
    object["sample"] = sample.map { .string($0) } ?? .null
    object["reparameterised"] = .bool(isReparameterised)
    object["notes"] = .array(notes.map { .string($0) })
    object["products"] = .array(figures.map(\.json))
    object["norm_scales"] = normScales?.json
    return .object(object)
  }

  /// The whole record.
  public var json: JSONValue {
    var object = metadata.object ?? JSONObject()
    object["bits_per_weight"] = .number(bitsPerWeight)
    object["ranks"] = .integer(ranks)
    object["seconds"] = .number(seconds)
    object["memory"] = memory?.json
    object["peak_bytes"] = .integer(peakBytes)
    return .object(object)
  }
}
