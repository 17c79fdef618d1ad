import Communication
import Settings
import TestSupport
import Testing
import Training

/// Memory is laid out once: no step after the first asks the heap for anything.
@Suite(.enabled(if: AllocationCounter.isAvailable, "\(AllocationCounter.absence)"))
struct AllocationTests {
  static let objectives: [(name: String, quantization: String, precision: String)] = [
    ("full precision", "{}", "{}"),
    ("round robin via anchor", "{formats: [mxint2, mxint4, mxint8], schedule: round_robin}", "{}"),
    ("sum via anchor, clipped", "{formats: [mxint3, mxint6], schedule: sum, estimator: clipped}", "{}"),
    ("random, direct", "{formats: [mxfp4, mxfp6_e2m3], path: direct, schedule: random}", "{}"),
    ("format parallel via anchor", "{formats: [mxfp4, mxfp6_e2m3, mxfp8_e4m3], schedule: format_parallel}", "{}"),
    ("format parallel, direct", "{formats: [mxfp4, mxfp8_e4m3], path: direct, schedule: format_parallel}", "{}"),
    ("curriculum with activations", "{formats: [mxint4, mxint8], schedule: curriculum, activations: mxint8}", "{}"),
    ("codes and int8", "{formats: [mxint2, mxint8]}", "{forward: mx, backward: int8, head: mx, small_layers: keep}"),
    ("stochastic", "{formats: [mxfp4, mxfp8_e4m3]}",
     "{forward: mx, backward: mx, rounding: stochastic, signs: redraw, small_layers: keep}"),
    ("halo2", "{}", "{forward: int8, backward: int8, policy: halo2, small_layers: keep}"),
  ]

  @Test(arguments: objectives.map(\.name))
  func stepAllocatesNothing(_ name: String) throws {
    let objective = Self.objectives.first { $0.name == name }!
    try check(
      Fixture.run(
        steps: 8, batch: 12, lanes: 4, accumulation: 1, quantization: objective.quantization,
        precision: objective.precision), name)
  }

  @Test func neitherDoMicroStepsAndOneLane() throws {
    try check(Fixture.run(steps: 8, batch: 4, lanes: 1, accumulation: 2), "accumulation")
  }

  private func check(_ settings: RunConfiguration, _ name: String) throws {
    let trainer = try Trainer(
      settings, model: Fixture.configuration(of: settings), tokens: Fixture.tokens(), communicator: .solo())
    try trainer.initialize()
    _ = try trainer.step()
    for step in 2...5 {
      var loss = 0.0
      let count = try AllocationCounter.count { loss = try trainer.step().loss }
      #expect(count == 0, "\(name), step \(step): \(count) allocations")
      #expect(loss.isFinite)
    }
  }
}
