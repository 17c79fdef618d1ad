import Checkpoints
import Tensors
import Transformer

/// Tells apart the coordinates that calibrations bring weights into (``WeightCoordinates``).
///
/// Rotations follow from the recipe, so their description is hashed. Scales follow from text and from how layers before
/// were rounded, so the scaled weights themselves are hashed, a layer at a time, rotated and not yet rounded. Online
/// rotations are not in it: the configuration names them.
struct CoordinateFingerprint {
  private let recipe: ReparameterisationRecipe
  private let source: WeightCoordinates

  init(_ recipe: ReparameterisationRecipe, of source: WeightCoordinates) {
    self.recipe = recipe
    self.source = source
  }

  /// nil where rotations alone decide.
  static func layer(_ weights: UnitParameters, _ recipe: ReparameterisationRecipe) -> String? {
    guard recipe.scaling != .none else { return nil }
    let flat = weights.flat.region(0, rows: 1, columns: weights.flat.count)
    // Sound: the bytes of the unit, for the time of the call.
    return unsafe ContentHash(
      UnsafeRawBufferPointer(start: flat.unsafeAddress(), count: flat.count * MemoryLayout<Float>.stride)).description
  }

  /// - Parameter layers: what ``layer(_:_:)`` gave, in order.
  func coordinates(layers: [String]) -> WeightCoordinates {
    // Blocks at the inputs alone are named by the configuration.
    guard recipe.changesCoordinates else { return source }
    let isFixed = recipe.rotatesResidual || recipe.rotatesValues
    let parts: JSONValue = [
      "source": source.fingerprint.map { .string($0) } ?? .null,
      "fold_norms": .bool(recipe.foldsNorms), "rotate_residual": .bool(recipe.rotatesResidual),
      "rotate_values": .bool(recipe.rotatesValues),
      "sign_seed": isFixed ? recipe.signSeed.map { .string(String($0)) } ?? .null : .null,
      "scaled_layers": .array(layers.map { .string($0) }),
    ]
    return WeightCoordinates(isReparameterised: true, fingerprint: ContentHash(parts.serialized(order: .given)).description)
  }
}
