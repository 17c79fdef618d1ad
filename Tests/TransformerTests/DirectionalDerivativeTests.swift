import Tensors
import Testing
import Transformer

/// Gradients of the whole model against differences of its own loss, parameter by parameter.
///
/// Central differences of fourth order: f' ≈ (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h. The loss carries fp32 noise of
/// some 1e-7, so steps are as large as the fourth order allows: a change of about 0.01 nats.
struct DirectionalDerivativeTests {
  @Test(arguments: TinyModel.all)
  func everyParameter(_ model: TinyModel) throws {
    let c = try model.configuration(), arena = Arena("test"), B = 3, S = 9
    let w = Parameters(c, in: arena), g = Parameters(c, in: arena)
    fillRandomly(w, seed: 7)
    let space = try Workspace(c, sequences: B, length: S, purpose: .training, in: arena)
    let ids = randomTokens(B * S, vocabulary: c.vocabularySize, seed: 8)
    space.fill(ids, targets: nextTokens(ids, length: S))
    let scored = Double(B * (S - 1))
    DecoderModel.lossAndGradients(w, g, space, scale: Float(1 / scored))

    var worst = (error: 0.0, name: "")
    for (unit, spec) in w.layout.all {
      let start = w.values(unit, spec), gradient = g.values(unit, spec).map(Double.init)
      let norm = gradient.reduce(0) { $0 + $1 * $1 }.squareRoot()
      try #require(norm > 1e-5, "\(spec.name) has a gradient to compare")
      // Along the gradient, whose derivative is largest, and a random direction beside it.
      let random = CounterRandom(seed: 9, stream: spec.name), count = Double(spec.count)
      let direction = gradient.indices.map { i in
        gradient[i] / norm + 2 * (random.uniform(UInt64(i)) - 0.5) * (3 / count).squareRoot()
      }
      let expected = zip(gradient, direction).reduce(0) { $0 + $1.0 * $1.1 }
      let h = min(0.01 / norm, 0.1)
      func loss(at step: Double) -> Double {
        w.fill(unit, spec, start.indices.map { Float(Double(start[$0]) + step * direction[$0]) })
        DecoderModel.loss(w, space)
        return space.lossSum / scored
      }
      let derivative = (8 * (loss(at: h) - loss(at: -h)) - (loss(at: 2 * h) - loss(at: -2 * h))) / (12 * h)
      w.fill(unit, spec, start)
      let error = abs(derivative - expected) / (abs(expected) + 2e-7 / h)
      if !(error <= worst.error) { worst = (error, spec.name) }
      #expect(error <= 1e-2, "\(spec.name): difference \(derivative), gradient \(expected)")
    }
    figure("\(model.name): worst relative error of a directional derivative \(worst)")
  }
}
