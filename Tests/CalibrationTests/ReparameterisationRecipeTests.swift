import Calibration
import Checkpoints
import Quantization
import Testing
import Transformer

@Suite struct ReparameterisationRecipeTests {
  @Test func equalRecipesHaveEqualBytes() throws {
    let recipe = ReparameterisationRecipe.quaRot(signSeed: .max)
    #expect(recipe.json.serialized() == ReparameterisationRecipe.quaRot(signSeed: .max).json.serialized())
    var others = [ReparameterisationRecipe.none, .quaRot(signSeed: 1), .quaRot(signSeed: nil), .blocks(32), .blocks(64)]
    for change: (inout ReparameterisationRecipe) -> Void in [
      { $0.scaling = .smoothQuant(alpha: 0.5) }, { $0.scaling = .smoothQuant(alpha: 0.75) },
      { $0.scaling = .awq(clips: false) }, { $0.scaling = .awq(clips: true) }, { $0.magR = MagR() },
      { $0.magR = .grouped(32) }, { $0.choosesRotations = true }, { $0.recordsNormScales = true },
    ] {
      var other = recipe
      change(&other)
      others.append(other)
    }
    let bytes = Set(([recipe] + others).map { $0.json.serialized() })
    #expect(bytes.count == others.count + 1)
  }

  @Test func quaRotRotatesWhatTheShapeAllows() throws {
    let c = try ReparameterisationModel.llama.configuration()
    let (transforms, notes) = OnlineRecipe.quaRot(queryKey: true).transforms(for: c, signSeed: 3)
    #expect(notes == [])
    for layer in 0..<c.layerCount {
      #expect(transforms[layer, .output] == OnlineRotation(.acrossHeads, signSeed: 3))
      #expect(transforms[layer, .down] == OnlineRotation(.full, signSeed: 3))
      #expect(transforms[layer, .queryKey] == OnlineRotation(.blocks(16), signSeed: 3))
      #expect(transforms[layer, .queryKeyValue] == nil && transforms[layer, .gateUp] == nil)
    }
  }

  @Test func whatIsLeftOutIsSaid() throws {
    var c = try ReparameterisationModel.llama.configuration()
    c.queryHeads = 6
    c.headDimension = 20
    c.feedForwardSize = 16 * 47  // no matrix of order 188 is known
    let (transforms, notes) = OnlineRecipe.quaRot(queryKey: true).transforms(for: c, signSeed: nil)
    #expect(transforms[0, .output] == nil && transforms[0, .queryKey] == nil)
    #expect(transforms[0, .down]?.kind == .blocks(16) || transforms[0, .down]?.kind == .full)
    #expect(notes.contains { $0.contains("6 heads") } && notes.contains { $0.contains("heads of 20") })

    c.hiddenSize = 72
    c.feedForwardSize = 96
    let blocks = OnlineRecipe.blocks(64).transforms(for: c, signSeed: nil)
    #expect(blocks.transforms[0, .queryKeyValue] == nil, "72 elements have no blocks of 16")
    #expect(blocks.transforms[0, .down]?.kind == .blocks(32))
    #expect(blocks.notes.count == 4)
  }

  @Test func aChoiceIsFreeWhereTheRotationIsOnline() {
    var recipe = ReparameterisationRecipe.quaRot(signSeed: nil)
    #expect(recipe.freeSites == [])
    recipe.choosesRotations = true
    #expect(recipe.freeSites == [.output, .down])
    recipe.online = .blocks(32)
    #expect(recipe.freeSites == [.queryKeyValue, .output, .gateUp, .down])
  }
}
