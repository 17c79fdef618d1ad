import Formats
import Kernels
import Quantization
import Tensors
import Testing
import Transformer

/// Layers that lie in one place in turn compute what layers with memory of their own do; so do layers whose forward is run
/// again for their backward.
struct SharedUnitsTests {
  @Test(arguments: ArithmeticCase.models, ArithmeticCase.all)
  func sameBits(_ model: TinyModel, _ arithmetic: ArithmeticCase) throws {
    let plain = try ModelUnderTest(model, arithmetic, sharing: .everyUnit, recompute: false)
    // Steps 0 and 1 draw different signs and random numbers; the second meets what the first has left.
    let expected = [plain.step(0), plain.step(1)]
    let differ = expected[0] != expected[1]
    #expect(expected.allSatisfy { $0.isFinite } && differ)
    for (sharing, recompute) in [(UnitSharing.everyUnit, true), (.layers, false), (.layers, true)] {
      let other = try ModelUnderTest(model, arithmetic, sharing: sharing, recompute: recompute)
      for step in 0..<2 {
        let result = other.step(step)
        let wrong = result.parts(differingFrom: expected[step])
        #expect(wrong.isEmpty, "\(sharing), recompute \(recompute), step \(step): \(wrong)")
      }
    }
  }

  /// The cases are cases: no two of them, and no two steps where something is drawn for each, agree.
  @Test func casesDiffer() throws {
    let results = try ArithmeticCase.all.map {
      try ModelUnderTest(ArithmeticCase.models[0], $0, sharing: .everyUnit, recompute: false).step(0).gradients
    }
    for i in results.indices {
      for j in 0..<i {
        let areSame = results[i] == results[j]
        #expect(!areSame, "\(ArithmeticCase.all[i].name) and \(ArithmeticCase.all[j].name)")
      }
    }
  }

  // MARK: Names of the same memory

  @Test func layersAreNamesOfOneBuffer() throws {
    for model in ArithmeticCase.models + TinyModel.all {
      let c = try model.configuration(), p = Parameters(c, in: Arena("test"), sharing: .layers), L = c.layerCount
      p.units[1].flat.fill((0..<p.units[1].layout.elementCount).map { Float($0) })
      for layer in 1...L {
        #expect(p.units[layer].flat.floats() == p.units[1].flat.floats())
        #expect(p.layers[layer - 1].down.floats() == p.layers[0].down.floats())
        #expect(p.layers[layer - 1].down.floats().first == Float(p.layout.units[layer].parameters[6].offset))
      }
      // The ends: one buffer for two matrices, or a matrix that stays beside a norm.
      p.embedding.fill([Float](repeating: 1, count: p.embedding.count))
      p.finalNorm.fill([Float](repeating: 2, count: c.hiddenSize))
      #expect(p.embedding.floats()[0] == (c.tiedHead ? 1 : 2), "\(model.name)")
      #expect(p.head.floats().allSatisfy { $0 == 1 || !c.tiedHead })
      #expect(p.units[1].flat.floats()[1] == 1, "the ends are not the layers'")
      #expect(p.units.map(\.layout) == p.layout.units)
    }
  }

  // MARK: Memory

  private func configuration(_ className: String, layers: Int) throws -> ModelConfiguration {
    let isTied = className != "LlamaForCausalLM"
    let json = ArithmeticCase.wide(className, ["num_hidden_layers": layers, "tie_word_embeddings": isTied])
    return try ModelConfiguration(json: Array(json.utf8), source: "test")
  }

  /// Weights and gradients: one layer, and the ends.
  @Test(arguments: ["LlamaForCausalLM", "Qwen3ForCausalLM"])
  func parametersDoNotGrowWithTheLayers(_ className: String) throws {
    func bytes(_ layers: Int, _ sharing: UnitSharing) throws -> Int {
      let arena = Arena("test")
      _ = Parameters(try configuration(className, layers: layers), in: arena, sharing: sharing)
      return arena.reservedBytes
    }
    #expect(try bytes(2, .layers) == bytes(9, .layers))
    #expect(try bytes(2, .everyUnit) < bytes(9, .everyUnit))
    // Elements of one layer and of the larger end, or of both where the embedding stays; padded to cache lines.
    let layout = ParameterLayout(try configuration(className, layers: 9)), ends = [layout.units[0], layout.units[10]]
    let tied = className != "LlamaForCausalLM", counts = ends.map(\.elementCount)
    let end = tied ? counts[0] + counts[1] : counts.max()!
    let exact = 4 * (layout.units[1].elementCount + end), reserved = try bytes(9, .layers)
    #expect(reserved >= exact && reserved < exact + 3 * 64, "\(reserved) for \(exact)")
  }

  /// Packed weights, and the signs of rotations.
  @Test(arguments: ArithmeticCase.all)
  func operandsDoNotGrowWithTheLayers(_ arithmetic: ArithmeticCase) throws {
    func bytes(_ layers: Int, _ sharing: UnitSharing) throws -> Int {
      let c = try configuration("LlamaForCausalLM", layers: layers), arena = Arena("test")
      let quantization = arithmetic.format == nil
        ? .fullPrecision(ParameterLayout(c).names) : try TensorSelection().resolve(ParameterLayout(c).names)
      _ = arithmetic.operators(c, quantization, tokens: 40, sharing: sharing, weights: arena, scratch: Arena("scratch"))
      return arena.reservedBytes
    }
    #expect(try bytes(2, .layers) == bytes(9, .layers))
    guard !arithmetic.arithmetic.isFullPrecision else { return }
    #expect(try bytes(2, .everyUnit) < bytes(9, .everyUnit))
    #expect(try bytes(9, .layers) < bytes(9, .everyUnit))
  }

  /// What a pass multiplies with must have been packed for it, by that layer.
  @Test func operandsOfAnotherLayerAreRefused() async {
    await #expect(processExitsWith: .failure) {
      let model = try ModelUnderTest(
        ArithmeticCase.models[0], ArithmeticCase("int8", .int8), sharing: .layers, recompute: false)
      for unit in model.full.parameters.units.indices {
        model.linear.prepare(unit: unit, of: model.full.parameters) { _ in nil }
      }
      DecoderModel.loss(model.full.parameters, model.space)
    }
  }
}
