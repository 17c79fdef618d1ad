import Formats
import Kernels
import Quantization
import Tensors
import TestSupport
import Testing
import Transformer

/// A model with rotated weights, and activations that it rotates while it runs, is the model it was made from.
@Suite struct OnlineRotationsTests {
  private static func space(
    _ c: ModelConfiguration, _ purpose: Workspace.Purpose, recompute: Bool = false, activations: MXFormat? = nil,
    in arena: Arena
  ) throws -> Workspace {
    let space = try Workspace(
      c, sequences: 2, length: 11, purpose: purpose, recompute: recompute, activationFormat: activations, in: arena)
    let ids = randomTokens(22, vocabulary: c.vocabularySize, seed: 2)
    space.fill(ids, targets: nextTokens(ids, length: 11))
    return space
  }

  private static func logits(_ w: Parameters, _ space: Workspace, in arena: Arena) -> [Float] {
    DecoderModel.forward(w, space)
    var logits = Tensor(rows: space.tokens, columns: w.configuration.vocabularySize, in: arena)
    Linear.forward(&logits, of: space.hidden, weight: w.head)
    return logits.floats()
  }

  @Test(arguments: RotatedModel.all) func logitsAreThoseOfThePlainModel(_ model: RotatedModel) throws {
    let arena = Arena("test"), (plain, rotated) = try model.weights(seed: 1, in: arena)
    let expected = Self.logits(plain, try Self.space(plain.configuration, .inference, in: arena), in: arena)
    let found = Self.logits(rotated, try Self.space(rotated.configuration, .inference, in: arena), in: arena)
    #expect(relativeDistance(found, expected) < 1e-5)
    // The rotations are there: weights differ, and without their transforms the function is another one.
    let hasWeights = model.rotations.contains { $0.site != .queryKey }
    #expect(hasWeights == (plain.allValues != rotated.allValues))
    if hasWeights {
      let unaware = Parameters(plain.configuration, in: arena)
      for (unit, spec) in unaware.layout.all { unaware.fill(unit, spec, rotated.values(unit, spec)) }
      let other = Self.logits(unaware, try Self.space(plain.configuration, .inference, in: arena), in: arena)
      #expect(relativeDistance(other, expected) > 0.05)
    }
  }

  /// dL/dW' = dL/dW · R for W' = W R, and every other gradient is the plain model's.
  @Test(arguments: RotatedModel.all) func gradientsAreThoseOfThePlainModel(_ model: RotatedModel) throws {
    for recompute in [false, true] {
      let arena = Arena("test"), (plain, rotated) = try model.weights(seed: 1, in: arena)
      let expected = Parameters(plain.configuration, in: arena), found = Parameters(rotated.configuration, in: arena)
      expected.poison()
      found.poison()
      let reference = try Self.space(plain.configuration, .training, in: arena)
      let space = try Self.space(rotated.configuration, .training, recompute: recompute, in: arena)
      DecoderModel.lossAndGradients(plain, expected, reference, scale: 0.1)
      DecoderModel.lossAndGradients(rotated, found, space, scale: 0.1)
      #expect(abs(space.lossSum - reference.lossSum) < 1e-4 * reference.lossSum)
      try found.rotate(inverse: true, in: arena)
      for (unit, spec) in expected.layout.all {
        let distance = relativeDistance(found.values(unit, spec), expected.values(unit, spec))
        // The gradient of a bias of keys is zero but for rounding: softmax does not see it.
        if spec.name.hasSuffix("k_proj.bias") { continue }
        #expect(distance < 3e-5, "\(spec.name)")
      }
    }
  }

  @Test(arguments: RotatedModel.all) func generationIsTheFullForward(_ model: RotatedModel) throws {
    let (_, rotated) = try model.weights(seed: 1, in: Arena("test"))
    try GenerationTests.check(rotated, length: 12)
  }

  /// A rotation comes before the rounding of activations.
  @Test(arguments: RotatedModel.all) func roundedActivationsAreRotatedFirst(_ model: RotatedModel) throws {
    let arena = Arena("test"), (plain, rotated) = try model.weights(seed: 1, in: arena)
    let rotations = try OnlineRotations(rotated.configuration, in: arena)
    let reference = LayerPass(plain, try Self.space(plain.configuration, .inference, in: arena))
    let pass = LayerPass(
      rotated, try Self.space(rotated.configuration, .inference, activations: .mxint8, in: arena))
    for pass in [reference, pass] {
      pass.embed()
      pass.attentionInput(layer: 0)
    }
    let normed = reference.activations(of: 0)
    rotations.apply(to: &normed.normed, layer: 0, site: .queryKeyValue)
    BlockCodec.roundTrip(inPlace: &normed.normed, format: .mxint8)
    #expect(pass.activations(of: 0).normed.floats() == normed.normed.floats())

    pass.attend(layer: 0)
    let a = pass.activations(of: 0)
    var expected = Tensor(rows: a.attended.rows, columns: a.attended.columns, in: arena)
    expected.copy(from: a.attended)
    rotations.apply(to: &expected, layer: 0, site: .output)
    BlockCodec.roundTrip(inPlace: &expected, format: .mxint8)
    #expect(a.outputInput.floats() == expected.floats() && a.outputInput.floats() != a.attended.floats())
  }

  /// Stage by stage is the whole pass, to the bit, whether a model is rotated or not.
  @Test(arguments: RotatedModel.all) func stagesAreTheForwardPass(_ model: RotatedModel) throws {
    for activations in [nil, MXFormat.mxint8] {
      let arena = Arena("test"), (plain, rotated) = try model.weights(seed: 1, in: arena)
      for w in [plain, rotated] {
        let whole = try Self.space(w.configuration, .inference, activations: activations, in: arena)
        DecoderModel.loss(w, whole)
        let pass = LayerPass(w, try Self.space(w.configuration, .inference, activations: activations, in: arena))
        pass.embed()
        pass.forward(layer: 0)
        // A stage may run again.
        pass.attentionInput(layer: 1)
        pass.attend(layer: 1)
        pass.attend(layer: 1)
        pass.addAttention(layer: 1)
        pass.addAttention(layer: 1)
        pass.gateUpInput(layer: 1)
        pass.gate(layer: 1)
        pass.gate(layer: 1)
        pass.addFeedForward(layer: 1)
        pass.loss()
        #expect(pass.space.losses.map(\.bitPattern) == whole.losses.map(\.bitPattern))
      }
    }
  }

  /// Forward and inverse undo each other; rows do not see their neighbours.
  @Test(arguments: RotatedModel.all) func rowsAreRotatedByThemselves(_ model: RotatedModel) throws {
    let c = try model.rotated(), arena = Arena("test"), rotations = try OnlineRotations(c, in: arena)
    for entry in model.rotations {
      // Rows for several pieces of work.
      let layer = entry.layers[0], width = entry.site.width(in: c), rows = 3 * 32_768 / width + 5
      var x = Tensor(rows: rows, columns: width, in: arena)
      let random = CounterRandom(seed: 3, stream: "x")
      let values = (0..<x.count).map { Float(random.uniform(UInt64($0))) - 0.5 }
      x.fill(values)
      rotations.apply(to: &x, layer: layer, site: entry.site)
      let all = x.floats()
      for row in [0, 1, rows / 2, rows - 1] {
        var one = Tensor(rows: 1, columns: width, in: arena)
        one.fill(Array(values[row * width..<(row + 1) * width]))
        rotations.apply(to: &one, layer: layer, site: entry.site)
        #expect(one.floats() == Array(all[row * width..<(row + 1) * width]))
      }
      rotations.apply(to: &x, layer: layer, site: entry.site, inverse: true)
      #expect(relativeDistance(x.floats(), values) < 1e-6 && all != values)
      #expect(rotations.rotates(layer: layer, site: entry.site))
    }
  }

  /// Heads that meet in a product have the same rotation, which leaves values alone.
  @Test func queriesAndKeysMeetInTheSameRotation() throws {
    let model = try #require(RotatedModel.all.first { $0.name == "llama with biases, everywhere" })
    let c = try model.rotated(), arena = Arena("test"), rotations = try OnlineRotations(c, in: arena)
    var x = Tensor(rows: 1, columns: c.queryKeyValueWidth, in: arena)
    let head = (0..<c.headDimension).map { Float($0 % 7) - 3 }
    x.fill(Array((0..<c.queryHeads + 2 * c.keyHeads).map { _ in head }.joined()))
    rotations.apply(to: &x, layer: 1, site: .queryKey)
    let values = x.floats(), heads = (0..<c.queryHeads + c.keyHeads).map { i in
      Array(values[i * c.headDimension..<(i + 1) * c.headDimension])
    }
    #expect(Set(heads).count == 1 && heads[0] != head)
    #expect(Array(values[(c.queryWidth + c.keyWidth)...]) == head)
  }

  @Test(.enabled(if: AllocationCounter.isAvailable, "\(AllocationCounter.absence)"), arguments: RotatedModel.all)
  func aStepAllocatesNothing(_ model: RotatedModel) throws {
    let arena = Arena("test"), (_, w) = try model.weights(seed: 1, in: arena)
    let g = Parameters(w.configuration, in: arena), space = try Self.space(w.configuration, .training, in: arena)
    DecoderModel.lossAndGradients(w, g, space, scale: 0.1)
    #expect(AllocationCounter.count { DecoderModel.lossAndGradients(w, g, space, scale: 0.1) } == 0)
  }

  /// Configurations made in a program are checked where they are used.
  @Test func transformsThatDoNotFitAreRefused() throws {
    var c = try RotatedModel.all[0].plain()
    c.transforms[1, .output] = OnlineRotation(.blocks(64))
    let error = #expect(throws: ModelError.self) {
      try Workspace(c, sequences: 1, length: 4, purpose: .inference, in: Arena("test"))
    }
    #expect("\(error!)".contains("layer 1 at 'o'") && "\(error!)".contains("96"))
    #expect(throws: ModelError.self) {
      try DecoderSession(Parameters(c, in: Arena("test")), capacity: 4)
    }
  }
}
