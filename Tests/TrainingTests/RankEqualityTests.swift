import Communication
import Settings
import Testing
import Training

/// Exact mode: the number of ranks changes no bit of losses, norms, masters and moments.
@Suite(.serialized) struct RankEqualityTests {
  static let objectives: [(name: String, quantization: String, precision: String)] = plain + lowPrecision

  private static let plain = [
    ("full precision", "{}", "{}"),
    ("round robin via anchor", "{formats: [mxint2, mxint4, mxint8], schedule: round_robin}", "{}"),
    ("sum via anchor, clipped", "{formats: [mxint3, mxint6], schedule: sum, estimator: clipped}", "{}"),
    ("random, direct", "{formats: [mxfp4, mxint4], anchor: mxint8, path: direct, schedule: random}", "{}"),
    ("format parallel, direct", "{formats: [mxfp4, mxfp8_e4m3], path: direct, schedule: format_parallel}", "{}"),
    ("format parallel via anchor", "{formats: [mxfp4, mxfp6_e2m3, mxfp8_e4m3], schedule: format_parallel}", "{}"),
    ("activations", "{formats: [mxint4], activations: mxint8}", "{}"),
  ]

  /// Token blocks lie inside lanes, scales are a lane's own, random numbers belong to places: ranks must not matter here
  /// either.
  private static let lowPrecision = [
    ("int8", "{}", "{forward: int8, backward: int8, head: int8, small_layers: keep}"),
    ("codes and int8", "{formats: [mxint2, mxint4, mxint8]}", "{forward: mx, backward: int8, small_layers: keep}"),
    ("codes, mx backward", "{formats: [mxint4, mxint8], schedule: sum}",
     "{forward: mx, backward: mx, head: mx, small_layers: keep}"),
    ("float codes, stochastic", "{formats: [mxfp4, mxfp6_e2m3, mxfp8_e4m3]}",
     "{forward: mx, backward: mx, rounding: stochastic, signs: redraw, small_layers: keep}"),
    ("fp4 gradients", "{formats: [mxfp4], activations: mxfp4}",
     "{forward: mx, backward: mx, format: mxfp4, small_layers: keep}"),
    ("halo2", "{}", "{forward: int8, backward: int8, policy: halo2, small_layers: keep}"),
    ("halo1, whole axes", "{formats: [mxint4]}",
     "{forward: int8, backward: int8, policy: halo1, full_width: true, small_layers: keep}"),
    ("bf16", "{formats: [mxfp8_e4m3], activations: mxfp8_e4m3}", "{forward: bf16, backward: bf16, small_layers: keep}"),
  ]

  @Test(arguments: objectives.map(\.name))
  func ranksDoNotMatter(_ name: String) throws {
    let objective = Self.objectives.first { $0.name == name }!
    let settings = try Fixture.run(quantization: objective.quantization, precision: objective.precision)
    let alone = try Fixture.trace(settings, on: .solo())
    #expect(alone.lossValues.allSatisfy { $0.isFinite })
    for ranks in 2...5 {
      let traces = try Communicator.onThreads(ranks) { try Fixture.trace(settings, on: $0) }
      for trace in traces { #expect(trace == alone, "\(name) on \(ranks) ranks") }
    }
  }

  @Test func accumulationAndDistillationDoNotMatterEither() throws {
    let settings = try Fixture.settings("""
      model: {path: starting-model}
      data: {train: [none.txt], context: 16}
      quantization: {formats: [mxint4]}
      training: {steps: 3, batch: 24, lanes: 6, accumulation: 2, learning_rate: 3.0e-3, seed: 7}
      distillation: {weight: 0.5, temperature: 2.0}
      """)
    let alone = try Fixture.trace(settings, on: .solo())
    let plain = try Fixture.trace(Fixture.settings("""
      model: {path: starting-model}
      data: {train: [none.txt], context: 16}
      quantization: {formats: [mxint4]}
      training: {steps: 3, batch: 24, lanes: 6, accumulation: 2, learning_rate: 3.0e-3, seed: 7}
      """), on: .solo())
    #expect(alone.losses != plain.losses, "distillation changes the loss")
    for ranks in [2, 4] {
      for trace in try Communicator.onThreads(ranks, { try Fixture.trace(settings, on: $0) }) { #expect(trace == alone) }
    }
  }

  @Test func lossFalls() throws {
    let settings = try Fixture.run(steps: 40, batch: 12, lanes: 4, quantization: "{formats: [mxint4, mxint8], schedule: round_robin}")
    let losses = try Fixture.trace(settings, on: .solo()).lossValues
    #expect(losses[0] > 4.3 && losses.last! < 3.6, "\(losses)")
  }
}
