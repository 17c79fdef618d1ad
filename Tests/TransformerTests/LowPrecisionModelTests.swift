import Formats
import Kernels
import Quantization
import Tensors
import Testing
import Transformer

/// Whole models whose products run in few bits.
@Suite struct LowPrecisionModelTests {
  /// A model, its gradients, and a workspace in some arithmetic.
  final class Setup {
    let arena = Arena("test")
    let w: Parameters, g: Parameters
    let linear: LinearOperators
    let space: Workspace
    let ids: [Int32]

    init(_ model: TinyModel, sequences: Int = 2, length: Int = 24, _ change: (inout LinearArithmetic) -> Void) throws {
      let c = try model.configuration(), tokens = sequences * length
      w = Parameters(c, in: arena)
      g = Parameters(c, in: arena)
      fillRandomly(w, seed: 1)
      var arithmetic = LinearArithmetic()
      change(&arithmetic)
      linear = LowPrecisionModelTests.operators(c, arithmetic, tokens: tokens, in: arena)
      space = try Workspace(
        c, sequences: sequences, length: length, purpose: .training, linear: linear, in: arena)
      ids = randomTokens(tokens, vocabulary: c.vocabularySize, seed: 2)
      space.fill(ids, targets: nextTokens(ids, length: length))
    }

    /// Mean losses of plain gradient descent on the same tokens.
    func train(steps: Int, rate: Float) -> [Double] {
      let scored = space.tokens - space.sequences
      return (0..<steps).map { step in
        linear.place(step: step)
        for unit in w.units.indices { linear.prepare(unit: unit, of: w) { _ in nil } }
        g.poison()
        DecoderModel.lossAndGradients(w, g, space, scale: 1 / Float(scored))
        for (unit, gradient) in zip(w.units, g.units) {
          unit.flat.fill(zip(unit.flat.floats(), gradient.flat.floats()).map { $0 - rate * $1 })
        }
        return space.lossSum / Double(scored)
      }
    }
  }

  static func operators(
    _ c: ModelConfiguration, _ arithmetic: LinearArithmetic, tokens: Int, in arena: Arena
  ) -> LinearOperators {
    var plan = LinearPlan()
    for product in ProductShape.all(c) {
      var wish = arithmetic
      // As a run has it: the head keeps scales of its own.
      if product.name == ParameterLayout.headName, wish.isHALO { wish.policy = .contraction }
      plan.add(
        product.name, inputs: product.inputs, outputs: product.outputs, tokens: tokens, wish: wish, hasCodes: false,
        cost: nil)
    }
    return LinearOperators(
      c, plan, quantization: .fullPrecision(ParameterLayout(c).names), formats: [], tokens: tokens,
      headTokens: LanguageHead(tokens: tokens, vocabulary: c.vocabularySize).chunk, seed: 9, weights: arena,
      scratch: arena)
  }

  /// Grouped queries, biases, norms of queries and keys, tied heads, widths that no rotation divides.
  @Test(arguments: TinyModel.all)
  func everyModelLearns(_ model: TinyModel) throws {
    let exact = try Setup(model) { _ in }.train(steps: 12, rate: 0.2)
    #expect(exact.last! < 0.9 * exact[0], "\(exact)")
    let wishes: [(String, (inout LinearArithmetic) -> Void)] = [
      ("mx, int8", {
        $0.forward = .mx
        $0.backward = .int8
        $0.weightGradient = .int8
      }),
      ("int8, halo2", {
        $0.forward = .int8
        $0.backward = .int8
        $0.weightGradient = .int8
        $0.policy = .halo2
        $0.rotatesFullWidth = true
      }),
      ("bf16", {
        $0.forward = .bf16
        $0.backward = .bf16
        $0.weightGradient = .bf16
      }),
    ]
    for (name, change) in wishes {
      let losses = try Setup(model, change).train(steps: 12, rate: 0.2)
      figure("\(model), \(name): \(losses[0]) to \(losses[11]), exact \(exact[11])")
      #expect(losses != exact, "\(name) is not fp32")
      #expect(losses.last! < 0.9 * losses[0], "\(name): \(losses)")
      #expect(abs(losses.last! - exact.last!) < 0.1 * exact[0], "\(name): \(losses.last!), in fp32 \(exact.last!)")
    }
  }

  // MARK: Long contexts

  private func long(_ positions: Int = 4096) -> TinyModel {
    TinyModel(name: "long", json: tinyConfiguration("LlamaForCausalLM", ["max_position_embeddings": positions]))
  }

  /// No part of a workspace grows with the square of the context.
  @Test(arguments: [MatmulPrecision.fp32, .int8, .mx, .bf16])
  func memoryGrowsWithTheContext(_ precision: MatmulPrecision) throws {
    let c = try long().configuration()
    var arithmetic = LinearArithmetic()
    arithmetic.forward = precision
    arithmetic.backward = precision
    arithmetic.weightGradient = precision
    func bytes(_ length: Int) throws -> Int {
      let arena = Arena("test")
      let linear = Self.operators(c, arithmetic, tokens: length, in: arena)
      _ = try Workspace(c, sequences: 1, length: length, purpose: .training, linear: linear, in: arena)
      return arena.reservedBytes
    }
    let (short, long) = try (bytes(512), bytes(4096))
    figure("\(precision): \(short) bytes at 512, \(long) at 4096")
    #expect(Double(long) <= 8.5 * Double(short), "\(short) bytes at 512, \(long) at 4096")
  }

  /// Tokens see what is before them only: the first 512 of 4096 are a text of their own.
  @Test func aLongContextBeginsLikeAShortOne() throws {
    let whole = try Setup(long(), sequences: 1, length: 4096) { _ in }
    DecoderModel.lossAndGradients(whole.w, whole.g, whole.space, scale: 1 / 4095)
    #expect(whole.g.allValues.allSatisfy { $0.isFinite })
    let c = try long().configuration()
    let window = try Workspace(c, sequences: 1, length: 512, purpose: .training, in: whole.arena)
    window.fill(Array(whole.ids[..<512]), targets: nextTokens(Array(whole.ids[..<513]), length: 513).dropLast())
    DecoderModel.loss(whole.w, window)
    let (losses, expected) = (whole.space.losses[..<512], window.losses)
    let worst = zip(losses, expected).map { abs($0 - $1) / max($1, 1) }.max() ?? 1
    #expect(worst < 1e-5, "losses differ by \(worst)")
    let columns = c.hiddenSize
    #expect(relativeDistance(Array(whole.space.hidden.floats()[..<(512 * columns)]), window.hidden.floats()) < 1e-5)
    func logits(_ space: Workspace) -> [Float] {
      var logits = Tensor(rows: 512, columns: c.vocabularySize, in: whole.arena)
      Linear.forward(&logits, of: space.hidden.rows(0..<512), weight: whole.w.head)
      return logits.floats()
    }
    #expect(relativeDistance(logits(whole.space), logits(window)) < 1e-5)
  }
}
