import Formats
import Kernels
import Tensors
import Testing
import Transformer

/// What holds to the bit, or to rounding, whatever the numbers are.
struct LossAndGradientsTests {
  private final class Setup {
    let c: ModelConfiguration
    let arena = Arena("test")
    let w: Parameters, g: Parameters
    let space: Workspace
    let ids: [Int32]

    init(_ model: TinyModel, sequences: Int = 2, length: Int = 11, activations: MXFormat? = nil) throws {
      c = try model.configuration()
      w = Parameters(c, in: arena)
      g = Parameters(c, in: arena)
      fillRandomly(w, seed: 1)
      space = try Workspace(
        c, sequences: sequences, length: length, purpose: .training, activationFormat: activations, in: arena)
      ids = randomTokens(sequences * length, vocabulary: c.vocabularySize, seed: 2)
      space.fill(ids, targets: nextTokens(ids, length: length))
    }

    func gradients(scale: Float = 0.1) -> [Float] {
      g.poison()
      DecoderModel.lossAndGradients(w, g, space, scale: scale)
      return g.allValues
    }
  }

  @Test(arguments: TinyModel.all)
  func twiceGivesTheSameBits(_ model: TinyModel) throws {
    let setup = try Setup(model)
    let first = setup.gradients(), loss = setup.space.losses
    #expect(first.allSatisfy { $0.isFinite }, "every gradient is overwritten")
    #expect(setup.gradients().map(\.bitPattern) == first.map(\.bitPattern))
    #expect(setup.space.losses.map(\.bitPattern) == loss.map(\.bitPattern))
    // And in other memory.
    #expect(try Setup(model).gradients().map(\.bitPattern) == first.map(\.bitPattern))
  }

  @Test(arguments: TinyModel.all)
  func inferenceGivesTheBitsOfTraining(_ model: TinyModel) throws {
    let setup = try Setup(model)
    _ = setup.gradients()
    let space = try Workspace(setup.c, sequences: 2, length: 11, purpose: .inference, in: setup.arena)
    space.fill(setup.ids, targets: nextTokens(setup.ids, length: 11))
    DecoderModel.loss(setup.w, space)
    #expect(space.losses.map(\.bitPattern) == setup.space.losses.map(\.bitPattern))
  }

  /// Tokens without a target give no loss and no gradient, whatever they are.
  @Test(arguments: TinyModel.all)
  func unscoredTokensContributeNothing(_ model: TinyModel) throws {
    let setup = try Setup(model)
    let targets = nextTokens(setup.ids, length: 11)
    setup.space.fill(setup.ids, targets: [Int32](repeating: -1, count: 22))
    #expect(setup.gradients().allSatisfy { $0 == 0 })
    #expect(setup.space.losses.allSatisfy { $0 == 0 })

    // The second sequence is scored nowhere, the first up to token 6.
    let masked = targets.indices.map { $0 < 6 ? targets[$0] : -1 }
    setup.space.fill(setup.ids, targets: masked)
    let gradients = setup.gradients(), losses = setup.space.losses
    #expect(losses[6...].allSatisfy { $0 == 0 } && losses[..<6].allSatisfy { $0 > 0 })
    var others = setup.ids
    for t in 7..<22 { others[t] = (others[t] + 13) % Int32(setup.c.vocabularySize) }
    setup.space.fill(others, targets: masked)
    #expect(setup.gradients() == gradients, "tokens after the last scored one, and of other sequences")

    // A sequence by itself gives the gradient it gives in a batch.
    let alone = try Setup(model, sequences: 1)
    alone.space.fill(Array(setup.ids[..<11]), targets: Array(masked[..<11]))
    #expect(relativeDistance(alone.gradients(), gradients) < 3e-6)
  }

  /// Gradients of a sum of losses add up, and `scale` multiplies them.
  @Test(arguments: TinyModel.all)
  func gradientsAddUp(_ model: TinyModel) throws {
    let both = try Setup(model)
    let sum = both.gradients(scale: 0.5)
    var parts = [Float](repeating: 0, count: sum.count)
    for b in 0..<2 {
      let ids = Array(both.ids[b * 11..<(b + 1) * 11]), alone = try Setup(model, sequences: 1)
      alone.space.fill(ids, targets: nextTokens(ids, length: 11))
      for (i, value) in alone.gradients(scale: 0.25).enumerated() { parts[i] += 2 * value }
    }
    #expect(relativeDistance(parts, sum) < 3e-6)
  }

  /// Distillation from the model itself: the soft part vanishes, the hard part is the plain loss.
  @Test(arguments: TinyModel.all)
  func distillationFromItself(_ model: TinyModel) throws {
    let setup = try Setup(model)
    let plain = setup.gradients(), losses = setup.space.losses
    let teacher = try Teacher(
      setup.w, distillation: LanguageHead.Distillation(hardWeight: 0.5, softWeight: 3, temperature: 2), sequences: 2,
      length: 11, in: setup.arena)
    DecoderModel.lossAndGradients(setup.w, setup.g, setup.space, scale: 0.2, teacher: teacher)
    #expect(relativeDistance(setup.g.allValues, plain) < 1e-5)
    for (mixed, loss) in zip(setup.space.losses, losses) { #expect(abs(mixed - 0.5 * loss) < 1e-5) }
  }

  /// Rounding the inputs of linear layers to eight bits moves losses a little, to two bits a lot; gradients stay finite.
  @Test func activationFormats() throws {
    let model = TinyModel.all[0], plain = try Setup(model)
    _ = plain.gradients()
    func distance(_ format: MXFormat) throws -> Double {
      let setup = try Setup(model, activations: format)
      #expect(setup.gradients().allSatisfy { $0.isFinite })
      return zip(setup.space.losses, plain.space.losses).map { abs($0 - $1) }.max()!
    }
    let fine = try distance(.mxint8), coarse = try distance(.mxint3)
    #expect(fine > 0 && fine < 0.1 && coarse > 2 * fine, "\(fine), \(coarse)")
  }
}
