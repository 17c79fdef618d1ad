import Communication
import Kernels
import Settings
import Testing
import Training
import Transformer

/// Runs whose products run in few bits: threads, exceptions, what they say, and going on after a kill.
@Suite(.serialized) struct PrecisionTests {
  // MARK: Threads

  static let objectives: [(name: String, quantization: String, precision: String)] = [
    ("full precision", "{}", "{}"),
    ("round robin via anchor", "{formats: [mxint2, mxint4, mxint8], schedule: round_robin}", "{}"),
    ("codes and int8", "{formats: [mxint4, mxint8]}", "{forward: mx, backward: int8, head: mx, small_layers: keep}"),
    ("stochastic, redrawn", "{formats: [mxfp4, mxfp8_e4m3]}",
     "{forward: mx, backward: mx, rounding: stochastic, signs: redraw, small_layers: keep}"),
    ("halo2, whole axes", "{}", "{forward: int8, backward: int8, policy: halo2, full_width: true, small_layers: keep}"),
    ("bf16", "{}", "{forward: bf16, backward: bf16, small_layers: keep}"),
  ]

  /// The team is the process's, as `ThreadTeamTests` has it: back to one thread at the end.
  @Test(arguments: objectives.map(\.name))
  func threadsDoNotMatter(_ name: String) throws {
    defer { ThreadTeam.configure(threads: 1) }
    let objective = Self.objectives.first { $0.name == name }!
    var settings = try Fixture.run(
      steps: 3, batch: 48, lanes: 2, quantization: objective.quantization, precision: objective.precision)
    var first: Trace?
    for threads in 1...3 {
      ThreadTeam.configure(threads: 1)
      settings.training.threads = threads
      let trace = try Fixture.trace(settings, on: .solo())
      #expect(ThreadTeam.shared.threads == threads)
      #expect(trace.lossValues.allSatisfy { $0.isFinite })
      #expect(first.map { $0 == trace } ?? true, "\(name) with \(threads) threads")
      first = first ?? trace
    }
  }

  // MARK: Exceptions by name

  private func losses(_ precision: String) throws -> Trace {
    try Fixture.trace(Fixture.run(steps: 2, precision: precision), on: .solo())
  }

  @Test func oneLayerInFullPrecision() throws {
    let wish = "forward: int8, backward: int8, head: fp32, small_layers: keep"
    let low = try losses("{\(wish)}"), full = try losses("{}")
    let mixed = try losses("{\(wish), layers: {model.layers.0.mlp.down_proj.weight: fp32}}")
    #expect(mixed.losses != low.losses && mixed.losses != full.losses && low.losses != full.losses)
    #expect(try losses("{\(wish), layers: {'**': fp32}}") == full)
    #expect(try losses("{head: fp32, small_layers: keep, layers: {'model.**': int8}}") == low, "the same, said by name")
    #expect(try losses("{\(wish), layers: {'model.**': fp32, 'model.layers.**': int8}}") == low)
  }

  /// A pattern for everything reaches the head too, which has neither HALO's scales nor its bf16 packed as integers.
  @Test func aPolicyForAllLayersLeavesTheHead() throws {
    let named = try losses("{forward: int8, backward: int8, small_layers: keep, layers: {'**': halo2}}")
    #expect(try named == losses("{forward: int8, backward: int8, policy: halo2, small_layers: keep}"))
    #expect(named.lossValues.allSatisfy { $0.isFinite })
  }

  @Test(arguments: [
    ("model.embed_tokens.weight", "matches none"), ("model.norm.weight", "matches none"),
    ("model.layers.0.mlp.dwn_proj.weight", "model.layers.0.mlp.down_proj.weight"),
    ("model.layers.*.self_attn.q_proj.weight", "one product"),
  ])
  func patternsThatCannotBeFollowed(_ pattern: String, _ words: String) throws {
    let place = try RunPlace()
    try Runs.expectRefusal(
      "training.precision.layers", words,
      of: place.settings("run", ["training.precision={forward: int8, layers: {'\(pattern)': fp32}}"]))
    #expect(!place.exists("run"))
  }

  // MARK: What a run says

  @Test func smallLayersStayAndTheLogSaysWhy() throws {
    let place = try RunPlace()
    let overrides = ["training.steps=1", "training.precision={forward: int8, backward: int8}"]
    let lines = try Runs.finish(place.settings("run", overrides))
    for size in ["down_proj (64 x 80)", "gate, up_proj (160 x 64)", "q, k, v_proj (128 x 64)", "o_proj (64 x 64)"] {
      let line = try #require(lines.first { $0.contains(size) }, "\(size) in \(lines)")
      #expect(line.hasPrefix("2 products: ") && line.contains("stays in fp32: fewer bits would give 0."), "\(line)")
      #expect(line.hasSuffix("less than 1.2"), "\(line)")
    }
    // And so it is the run that asked for nothing.
    try Runs.finish(place.settings("plain", ["training.steps=1"]))
    #expect(try place.state("run", 1) == place.state("plain", 1))
  }

  @Test func plansNameTheProducts() throws {
    let place = try RunPlace()
    func plan(_ overrides: String...) throws -> RunPlan {
      try TrainingRun(
        place.settings("run", overrides), communicator: .solo(), open: { try ModelSources.open($0) }, report: { _ in }
      ).plan
    }
    func products(_ plan: RunPlan) -> String { plan.facts.first { $0.name == "products" }?.text ?? "" }
    #expect(try products(plan()) == "fp32")
    let kept = try plan("training.precision={forward: mx, backward: int8, small_layers: keep}")
    #expect(
      products(kept).contains(
        "2 products: down_proj (64 x 80) in mx forward, int8 backward, int8 weight gradient, contraction"))
    #expect(products(kept).contains("lm_head (264 x 64) in bf16 forward, bf16 backward, bf16 weight gradient"))
    #expect(kept.memory.parts.contains { $0.purpose == "packed weights" && $0.bytes > 0 })
    let one = try plan(
      "training.precision={forward: int8, small_layers: keep, layers: {'model.layers.1.**': fp32}}")
    #expect(products(one).split(separator: ";").count == 4 && !products(one).contains("2 products"), "\(products(one))")
    #expect(!place.exists("run"))
  }

  // MARK: Resume

  static let resumed = [
    "{forward: mx, backward: int8, small_layers: keep}",
    "{forward: mx, backward: mx, head: mx, rounding: stochastic, signs: redraw, small_layers: keep}",
    "{forward: int8, backward: int8, policy: halo2, small_layers: keep}",
    "{forward: int8, backward: int8, full_width: true, signs: redraw, small_layers: keep, layers: {'**.o_proj.*': bf16}}",
  ]

  @Test(arguments: resumed)
  func resumedEqualsUninterrupted(_ precision: String) throws {
    let place = try RunPlace()
    let overrides = ["training.precision=\(precision)"]
    try Runs.finish(place.settings("whole", overrides))
    try Runs.finish(place.settings("run", overrides), ranks: 2)
    try place.crash("run", after: 3)
    let lines = try Runs.finish(place.settings("run", overrides), ranks: 2, resume: .newest)
    #expect(lines.contains { $0.contains("resumed at step 3") }, "\(lines)")
    try ResumeTests.expectSameEnd(place, "run", "whole")
  }

  /// A validation between two steps, in the very format of the next one, must not leave it the rotations of the last.
  @Test func validationsChangeNothing() throws {
    let place = try RunPlace()
    let overrides = [
      "quantization={formats: [mxint4], evaluate_formats: [mxint4]}", "checkpoint.every=0",
      "training.precision={forward: int8, backward: int8, rounding: stochastic, signs: redraw, small_layers: keep}",
    ]
    for (name, every) in [("often", 1), ("once", 3), ("never", 0)] {
      try Runs.finish(place.settings(name, overrides + ["logging.validate_every=\(every)"]))
    }
    for name in ["often", "once"] {
      #expect(try place.state(name, 6) == place.state("never", 6), "validated \(name)")
    }
  }

  @Test func threadsMayChangeAndPrecisionMayNot() throws {
    defer { ThreadTeam.configure(threads: 1) }
    let place = try RunPlace()
    let layers = "'model.**': int8, 'model.layers.0.**': fp32"
    func settings(_ name: String, layers: String = layers, _ more: String...) throws -> RunConfiguration {
      try place.settings(name, ["training.precision={small_layers: keep, layers: {\(layers)}}"] + more)
    }
    try Runs.finish(settings("whole"))
    try Runs.finish(settings("run"))
    try place.crash("run", after: 3)
    try Runs.expectRefusal(
      "training.precision.layers is in the order \"model.layers.0.**\", \"model.**\" now", resume: .newest,
      of: settings("run", layers: "'model.layers.0.**': fp32, 'model.**': int8"))
    try Runs.expectRefusal(
      "training.precision.layers.", resume: .newest, of: settings("run", layers: "'model.**': int8"))
    try Runs.expectRefusal(
      "training.precision.rotation", resume: .newest, of: settings("run", "training.precision.rotation=32"))
    try Runs.finish(settings("run", "training.threads=2"), resume: .newest)
    try ResumeTests.expectSameEnd(place, "run", "whole")
  }
}
