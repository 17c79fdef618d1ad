public import Checkpoints
import Quantization

/// Whether a model's weights stand in coordinates of their own: rotated or scaled so that single weights are others while
/// the function is the same. Weights of two models can be subtracted only where both stand in the same.
///
/// Calibration finds them, and states them under `calibration` in the metadata of its anchor; slices, training runs and
/// further calibrations pass them on:
///
///     "calibration": {"reparameterised": true, "coordinates": "<32 hexadecimal digits>", …}
public struct WeightCoordinates: Sendable, Hashable {
  public var isReparameterised: Bool
  /// Equal for equal coordinates, the online rotations aside, which `config.json` names; nil where nobody has stated it.
  public var fingerprint: String?

  public init(isReparameterised: Bool = false, fingerprint: String? = nil) {
    self.isReparameterised = isReparameterised
    self.fingerprint = fingerprint
  }

  static let key = "calibration"

  /// - Parameter metadata: of an anchor, a slice of one, or a checkpoint.
  init(_ metadata: JSONObject) {
    self.init()
    // A slice keeps what its anchor says under a key of its own.
    var place: JSONValue? = .object(metadata)
    while let object = place {
      if let says = object[Self.key], says["reparameterised"]?.bool == true {
        self.init(isReparameterised: true, fingerprint: says["coordinates"]?.string)
        return
      }
      place = object["anchor_metadata"]
    }
  }

  /// What the metadata of a model made from this one states, under `calibration`; nil where there is nothing to state.
  public var metadata: JSONValue? {
    guard isReparameterised else { return nil }
    return ["reparameterised": true, "coordinates": fingerprint.map { .string($0) } ?? .null]
  }

  /// Adds ``metadata`` to that of a model made from this one.
  public func state(in object: inout JSONObject) { object[Self.key] = metadata }
}

extension ModelSource {
  /// A model with online rotations is reparameterised, whatever its metadata says.
  public var coordinates: WeightCoordinates {
    let metadata = (self as? AnchorModel)?.metadata ?? (self as? CheckpointModel)?.metadata ?? JSONObject()
    var coordinates = WeightCoordinates(metadata)
    coordinates.isReparameterised = coordinates.isReparameterised || !configuration.transforms.isEmpty
    return coordinates
  }
}
