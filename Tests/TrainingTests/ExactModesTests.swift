import Communication
import Settings
import Testing
import Training

/// With exact gradients no way of sending exact weights, of keeping them or of computing again changes a bit of what a
/// run writes: losses, validations, masters, moments, anchor, on any number of ranks.
@Suite(.serialized) struct ExactModesTests {
  /// What a run trains.
  struct Objective: Sendable, CustomTestStringConvertible {
    let name: String, overrides: [String]
    /// Ways of its weights.
    var weights = ["auto", "fp32", "anchor", "code_delta"]
    var isQuantized = true
    var testDescription: String { name }
  }

  static let objectives = [
    Objective(name: "round robin via anchor", overrides: []),
    Objective(
      name: "format parallel via anchor",
      overrides: [
        "quantization={formats: [mxfp4, mxfp6_e2m3, mxfp8_e4m3], schedule: format_parallel}",
        "quantization.evaluate_formats=[mxfp6_e2m3]",
      ]),
    Objective(
      name: "sum via anchor, clipped",
      overrides: ["quantization={formats: [mxint3, mxint6], schedule: sum, estimator: clipped}"]),
    Objective(
      name: "direct, other formats evaluated",
      overrides: ["quantization={formats: [mxint4], path: direct, evaluate_formats: [mxint8, mxint4, mxint3]}"]),
    Objective(
      name: "format parallel, direct",
      overrides: ["quantization={formats: [mxfp4, mxfp8_e4m3], path: direct, schedule: format_parallel}"],
      weights: ["auto", "fp32", "anchor"]),
    Objective(
      name: "full precision", overrides: ["quantization={objective: full_precision, evaluate_formats: [mxint4]}"],
      weights: ["auto", "fp32"], isQuantized: false),
    Objective(
      name: "codes and int8", overrides: ["training.precision={forward: mx, backward: int8, small_layers: keep}"],
      weights: ["auto", "anchor", "code_delta"]),
  ]

  /// Ranks, sharding, recomputation, overlap: with every way of weights, `layers` only where it is allowed.
  static let ways: [(ranks: Int, sharding: String, recompute: String, overlap: Bool)] = [
    (2, "replicate", "none", true), (3, "replicate", "layers", false), (4, "replicate", "none", true),
    (1, "layers", "none", true), (2, "layers", "layers", false), (3, "layers", "none", true),
    (4, "layers", "layers", true),
  ]

  static let short = ["training.steps=4", "checkpoint.every=0", "logging.validate_every=2"]

  @Test(arguments: objectives, [true, false])
  func nothingChanges(_ objective: Objective, tied: Bool) throws {
    let place = try RunPlace(tied: tied)
    let overrides = Self.short + objective.overrides
    try Runs.finish(place.settings("plain", overrides))
    let validations = try place.metrics("plain").filter { $0.contains("validation") }
    #expect(validations.count >= 2)
    for weights in objective.weights {
      for way in Self.ways where way.sharding == "replicate" || weights != "code_delta" {
        let name = "\(weights)-\(way.ranks)-\(way.sharding)-\(way.recompute)"
        let settings = try place.settings(
          name,
          overrides + [
            "communication={weights: \(weights), sharding: \(way.sharding), overlap: \(way.overlap), check_every: 1}",
            "training.recompute=\(way.recompute)",
          ])
        try Runs.finish(settings, ranks: way.ranks)
        let differing = try Self.differences(place, name, "plain", anchor: objective.isQuantized)
        #expect(differing.isEmpty, "\(objective.name), \(name), \(tied ? "tied" : "untied"): \(differing) differ")
        try place.remove(name)
      }
    }
  }

  /// On two nodes weights go in two hops: the route changes no bit.
  @Test(arguments: [[2, 2], [1, 1, 1], [2, 1], [4]]) func nodesDoNotMatter(_ sizes: [Int]) throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("plain", Self.short))
    for weights in ["auto", "fp32", "code_delta"] {
      let settings = try place.settings(weights, Self.short + ["communication={weights: \(weights), check_every: 2}"])
      try Runs.finish(settings, ranks: sizes.reduce(0, +), nodes: NodeMap(sizes: sizes))
      let differing = try Self.differences(place, weights, "plain")
      #expect(differing.isEmpty, "\(weights) on \(sizes): \(differing) differ")
    }
  }

  /// Ranks without a lane in the last round, or in every one, take part all the same.
  @Test(arguments: [(1, 3), (2, 3), (2, 4), (3, 2), (3, 4), (6, 4)])
  func ranksMayIdle(lanes: Int, ranks: Int) throws {
    let place = try RunPlace()
    let overrides = Self.short + ["training.lanes=\(lanes)", "training.batch=12", "training.accumulation=2"]
    try Runs.finish(place.settings("plain", overrides))
    for (weights, sharding, overlap) in [
      ("auto", "replicate", true), ("auto", "layers", true), ("fp32", "layers", false),
      ("code_delta", "replicate", false),
    ] {
      let name = "\(weights)-\(sharding)"
      let settings = try place.settings(
        name, overrides + ["communication={weights: \(weights), sharding: \(sharding), overlap: \(overlap)}"])
      try Runs.finish(settings, ranks: ranks)
      let differing = try Self.differences(place, name, "plain")
      #expect(differing.isEmpty, "\(lanes) lanes on \(ranks) ranks, \(name): \(differing) differ")
    }
  }

  /// Files of two finished runs that are not equal.
  static func differences(
    _ place: RunPlace, _ a: String, _ b: String, step: Int = 4, anchor: Bool = true
  ) throws -> [String] {
    var different = try place.metrics(a) == place.metrics(b) ? [] : ["metrics"]
    if try place.state(a, step) != place.state(b, step) { different.append("state") }
    let files = place.names(b + "/anchor")
    if files.isEmpty == anchor || place.names(a + "/anchor") != files { different.append("names in the anchor") }
    for file in files where try place.bytes(a + "/anchor/" + file) != place.bytes(b + "/anchor/" + file) {
      different.append("anchor/" + file)
    }
    return different
  }
}
