import Kernels
import Tensors
import Testing
import Transformer

/// What a pass tells its visitor, in which order, and that it stops when told to.
struct UnitVisitorTests {
  private struct Setup {
    let w: Parameters, g: Parameters
    let space: Workspace
    let layers: Int

    init(_ model: TinyModel, recompute: Bool = false) throws {
      let c = try model.configuration(), arena = Arena("test")
      w = Parameters(c, in: arena)
      g = Parameters(c, in: arena)
      fillRandomly(w, seed: 1)
      space = try Workspace(c, sequences: 2, length: 11, purpose: .training, recompute: recompute, in: arena)
      let ids = randomTokens(22, vocabulary: c.vocabularySize, seed: 2)
      space.fill(ids, targets: nextTokens(ids, length: 11))
      layers = c.layerCount
    }

    func visit(_ visitor: RecordingVisitor) throws(RecordingVisitor.Stop) {
      try DecoderModel.lossAndGradients(w, g, space, scale: 0.1, visiting: visitor)
    }
  }

  /// Tied and untied heads, recomputed or not: the same calls.
  @Test(arguments: TinyModel.all, [false, true])
  func order(_ model: TinyModel, recompute: Bool) throws {
    let setup = try Setup(model, recompute: recompute), visitor = RecordingVisitor(), L = setup.layers
    try setup.visit(visitor)
    let forward = (0...L + 1).map { Visit.use($0, .forward) }
    let backward = (1...L).reversed().flatMap { [Visit.use($0, .backward), .complete($0)] }
    #expect(visitor.visits == forward + [.complete(L + 1)] + backward + [.complete(0)])

    let scoring = RecordingVisitor()
    try DecoderModel.loss(setup.w, setup.space, visiting: scoring)
    #expect(scoring.visits == forward)
    let hidden = RecordingVisitor()
    try DecoderModel.forward(setup.w, setup.space, visiting: hidden)
    #expect(hidden.visits == forward)
  }

  /// Four products and one attention forward, twice that backward less one attention; a layer that is recomputed lacks its
  /// last product only. The head: in the middle and at the end of every chunk.
  @Test(arguments: TinyModel.all, [false, true])
  func polls(_ model: TinyModel, recompute: Bool) throws {
    let setup = try Setup(model, recompute: recompute), visitor = RecordingVisitor(), L = setup.layers
    try setup.visit(visitor)
    for layer in 1...L {
      #expect(visitor.polls(after: .use(layer, .forward)) == 5)
      #expect(visitor.polls(after: .use(layer, .backward)) == (recompute && layer < L ? 13 : 9))
    }
    let chunks = (setup.space.tokens + setup.space.head.chunk - 1) / setup.space.head.chunk
    #expect(visitor.polls(after: .use(L + 1, .forward)) == 2 * chunks)
  }

  /// A teacher's pass is as long as the student's: it polls, and asks for nothing.
  @Test func teachersPoll() throws {
    let setup = try Setup(TinyModel.all[0])
    let teacher = try Teacher(
      setup.w, distillation: .init(hardWeight: 0.5, softWeight: 0.5, temperature: 2), sequences: 2, length: 11,
      in: Arena("teacher"))
    let plain = RecordingVisitor(), distilled = RecordingVisitor()
    try setup.visit(plain)
    try DecoderModel.lossAndGradients(
      setup.w, setup.g, setup.space, scale: 0.1, teacher: teacher, visiting: distilled)
    #expect(distilled.visits == plain.visits)
    #expect(distilled.polls.reduce(0, +) == plain.polls.reduce(0, +) + 5 * setup.layers)
  }

  /// Whatever call fails, the pass ends with that error, and nobody is called again.
  @Test(arguments: [false, true])
  func errorsEndThePass(recompute: Bool) throws {
    let setup = try Setup(TinyModel.all[0], recompute: recompute), whole = RecordingVisitor()
    try setup.visit(whole)
    for stop in 0..<whole.calls {
      let visitor = RecordingVisitor(stopAt: stop)
      do {
        try setup.visit(visitor)
        Issue.record("call \(stop) of \(whole.calls) did not stop the pass")
      } catch {
        #expect(error == RecordingVisitor.Stop(at: stop))
      }
      #expect(visitor.calls == stop + 1)
      #expect(visitor.visits == Array(whole.visits.prefix(visitor.visits.count)))
    }
    try setup.visit(RecordingVisitor(stopAt: whole.calls))
  }

  @Test func aVisitorChangesNoBit() throws {
    for model in TinyModel.all {
      let setup = try Setup(model)
      setup.g.poison()
      DecoderModel.lossAndGradients(setup.w, setup.g, setup.space, scale: 0.1)
      let gradients = setup.g.allValues, losses = setup.space.losses
      setup.g.poison()
      try setup.visit(RecordingVisitor())
      let areSame = setup.g.allValues.map(\.bitPattern) == gradients.map(\.bitPattern)
      #expect(areSame)
      #expect(setup.space.losses.map(\.bitPattern) == losses.map(\.bitPattern))
    }
  }
}
