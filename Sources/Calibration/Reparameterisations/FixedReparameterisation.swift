import Quantization
public import Tensors
public import Transformer

/// The part of a recipe that needs no data, on one model: tensor by tensor, so that a model need not be in memory
/// whole.
///
///     let fixed = try FixedReparameterisation(recipe, of: configuration)
///     fixed.apply(embedding: &embedding)
///     try fixed.apply(to: layer, index: i)                    // before scaling
///     rotations.rotateWeights(of: layer, index: i)            // after it (OnlineRotations of `target`)
///     try fixed.apply(finalNorm: &norm, head: &head)  // head: a copy of the embedding as stored, if it was tied
public struct FixedReparameterisation: Sendable {
  public let recipe: ReparameterisationRecipe
  /// What the reparameterised weights are stored under: its head untied, its online rotations named.
  public let target: ModelConfiguration
  /// What the model's shape leaves out of the recipe.
  public let notes: [String]

  private let residual: ResidualRotation?
  private let values: ValueRotation?

  /// Refuses what would change the model, and widths without a Hadamard matrix.
  public init(_ recipe: ReparameterisationRecipe, of c: ModelConfiguration) throws(CalibrationError) {
    guard c.transforms.isEmpty else {
      throw CalibrationError("model", "it has online rotations, so it is reparameterised already")
    }
    guard recipe.foldsNorms || !recipe.rotatesResidual else {
      throw CalibrationError("recipe", "a rotation of the residual stream needs folded norms")
    }
    self.recipe = recipe
    residual = recipe.rotatesResidual
      ? try ResidualRotation(hiddenSize: c.hiddenSize, signSeed: recipe.signSeed) : nil
    values = recipe.rotatesValues
      ? try ValueRotation(headDimension: c.headDimension, signSeed: recipe.signSeed) : nil
    var target = recipe.foldsNorms ? NormFolding.target(of: c) : c
    var (transforms, notes) = recipe.online.transforms(for: c, signSeed: recipe.signSeed)
    if case .quaRot = recipe.online, !recipe.rotatesValues {
      notes.append("values are not rotated inside a head")
    }
    if case .awq = recipe.scaling { notes += AWQ.sites(c).notes }
    target.transforms = transforms
    self.target = target
    self.notes = notes
  }

  /// (V, D)
  public func apply(embedding: inout Tensor) { residual?.rotate(embedding: &embedding) }

  /// Fold, residual rotation, value rotation.
  public func apply(to layer: LayerParameters, index: Int) throws(CalibrationError) {
    if recipe.foldsNorms { NormFolding.fold(layer) }
    try residual?.rotate(layer, index: index)
    values?.rotate(layer, target)
  }

  /// - Parameter head: (V, D), memory of its own wherever norms are folded.
  public func apply(finalNorm: inout Tensor, head: inout Tensor) throws(CalibrationError) {
    if recipe.foldsNorms { NormFolding.fold(finalNorm: &finalNorm, into: &head) }
    try residual?.rotate(head: &head, finalNorm: finalNorm)
  }
}
