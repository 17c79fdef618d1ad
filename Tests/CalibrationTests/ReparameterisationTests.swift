import Calibration
import Kernels
import Quantization
import Tensors
import TestSupport
import Testing
import Transformer

/// The full-precision function does not change, whatever is moved between its tensors.
@Suite struct ReparameterisationTests {
  static let bound = 1e-5  // of relative distance; the acceptance bound is 1e-4

  static func logits(_ w: Parameters) throws -> [Float] {
    let arena = Arena("logits"), space = try w.workspace(in: arena)
    DecoderModel.forward(w, space)
    var logits = Tensor(rows: space.tokens, columns: w.configuration.vocabularySize, in: arena)
    Linear.forward(&logits, of: space.hidden, weight: w.head)
    return logits.floats()
  }

  /// Relative distance of the logits that `recipe`, then `change`, then the online rotations leave.
  static func distance(
    _ model: ReparameterisationModel, _ recipe: ReparameterisationRecipe,
    change: (LayerParameters, Int, ModelConfiguration) -> Void = { _, _, _ in }
  ) throws -> Double {
    let arena = Arena("models"), c = try model.configuration()
    let before = Parameters(c, in: arena)
    before.fillRandomly(seed: 3)
    let fixed = try FixedReparameterisation(recipe, of: c)
    let after = before.copied(as: fixed.target, in: arena)
    let rotations = try OnlineRotations(fixed.target, in: arena)
    fixed.apply(embedding: &after.embedding)
    for (i, layer) in after.layers.enumerated() {
      try fixed.apply(to: layer, index: i)
      change(layer, i, c)
      rotations.rotateWeights(of: layer, index: i)
    }
    try fixed.apply(finalNorm: &after.finalNorm, head: &after.head)
    return relativeError(try logits(after), try logits(before)).squareRoot()
  }

  static func recipe(_ change: (inout ReparameterisationRecipe) -> Void) -> ReparameterisationRecipe {
    var recipe = ReparameterisationRecipe()
    change(&recipe)
    return recipe
  }

  static func scale(_ layer: LayerParameters, _ i: Int, _ c: ModelConfiguration) {
    for site in ChannelScaling.Site.allCases {
      let draws = Draws(UInt64(i), "scale \(site.rawValue)")
      ChannelScaling(site, (0..<site.width(c)).map { Float(0.2 + 3 * draws.uniform($0)) }).apply(to: layer, c)
    }
  }

  @Test(arguments: ReparameterisationModel.all)
  func foldingKeepsTheModel(_ model: ReparameterisationModel) throws {
    let distance = try Self.distance(model, Self.recipe { $0.foldsNorms = true })
    #expect(distance < Self.bound)
    let arena = Arena("fold"), c = try model.configuration()
    let w = Parameters(NormFolding.target(of: c), in: arena)
    w.fillRandomly(seed: 1)
    NormFolding.fold(w.layers[1])
    NormFolding.fold(finalNorm: &w.finalNorm, into: &w.head)
    let gains = w.layers[1].inputNorm.floats() + w.layers[1].postAttentionNorm.floats() + w.finalNorm.floats()
    #expect(gains.allSatisfy { $0 == 1 })
    if c.queryKeyNorm { #expect(!w.layers[1].queryNorm.floats().allSatisfy { $0 == 1 }) }
    #expect(NormFolding.headSource(of: c) == (c.tiedHead ? "model.embed_tokens.weight" : "lm_head.weight"))
  }

  @Test(arguments: ReparameterisationModel.all, [nil, 17] as [UInt64?])
  func rotatingTheResidualStreamKeepsTheModel(_ model: ReparameterisationModel, _ seed: UInt64?) throws {
    let distance = try Self.distance(
      model,
      Self.recipe {
        $0.foldsNorms = true
        $0.rotatesResidual = true
        $0.signSeed = seed
      })
    #expect(distance < Self.bound)
  }

  @Test(arguments: ReparameterisationModel.all, [nil, 17] as [UInt64?])
  func rotatingValuesKeepsTheModel(_ model: ReparameterisationModel, _ seed: UInt64?) throws {
    let distance = try Self.distance(
      model,
      Self.recipe {
        $0.rotatesValues = true
        $0.signSeed = seed
      })
    #expect(distance < Self.bound)
  }

  @Test(arguments: ReparameterisationModel.all)
  func scalingEverySiteKeepsTheModel(_ model: ReparameterisationModel) throws {
    let distance = try Self.distance(model, .none, change: Self.scale)
    #expect(distance < Self.bound)
  }

  @Test(arguments: ReparameterisationModel.all, [16, 32])
  func blocksKeepTheModel(_ model: ReparameterisationModel, _ block: Int) throws {
    let distance = try Self.distance(model, .blocks(block, signSeed: 5))
    #expect(distance < Self.bound)
  }

  /// Everything, in the order of the pipeline.
  @Test(arguments: ReparameterisationModel.all, [nil, 99] as [UInt64?])
  func theCompositionKeepsTheModel(_ model: ReparameterisationModel, _ seed: UInt64?) throws {
    let quaRot = try Self.distance(model, .quaRot(signSeed: seed, queryKey: true), change: Self.scale)
    var both = ReparameterisationRecipe.quaRot(signSeed: seed)
    both.online = .blocks(16)
    let blocks = try Self.distance(model, both, change: Self.scale)
    figure("composition on \(model.name), signs \(seed.map(String.init) ?? "none"): \(quaRot), with blocks \(blocks)")
    #expect(quaRot < Self.bound && blocks < Self.bound)
  }

  @Test func whatWouldChangeAModelIsRefused() throws {
    let arena = Arena("refusals"), c = try ReparameterisationModel.llama.configuration()
    let w = Parameters(c, in: arena)
    w.fillRandomly(seed: 1)
    let rotation = try ResidualRotation(hiddenSize: 96, signSeed: nil)
    #expect(throws: CalibrationError.self) { try rotation.rotate(w.layers[1], index: 1) }
    #expect(throws: CalibrationError.self) { try rotation.rotate(head: &w.head, finalNorm: w.finalNorm) }
    let refusal = #expect(throws: CalibrationError.self) { try ResidualRotation(hiddenSize: 90, signSeed: nil) }
    #expect(refusal?.subject == "hidden_size" && refusal?.problem.contains("90") == true)
    #expect(throws: CalibrationError.self) {
      try FixedReparameterisation(Self.recipe { $0.rotatesResidual = true }, of: c)
    }
    var reparameterised = c
    reparameterised.transforms[0, .down] = OnlineRotation(.full)
    #expect(throws: CalibrationError.self) { try FixedReparameterisation(.none, of: reparameterised) }
  }
}
