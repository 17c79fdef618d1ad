import Calibration
import Tensors
import Testing
import Transformer

@Suite struct RankCorrelationTests {
  @Test func ranksShareThePlacesOfEquals() {
    #expect(RankCorrelation.ranks([10, 30, 10]) == [1.5, 3, 1.5])
    #expect(RankCorrelation.ranks([3, 1, 2]) == [3, 1, 2])
    #expect(RankCorrelation.ranks([5, 5, 5, 5]) == [2.5, 2.5, 2.5, 2.5])
    #expect(RankCorrelation.ranks([2, 1, 2, 0, 2]) == [4, 2, 4, 1, 4])
    #expect(RankCorrelation.ranks([]) == [])
  }

  @Test func orders() {
    #expect(RankCorrelation.spearman([1, 2, 3, 4], [0.1, 0.2, 5, 1000]) == 1)
    #expect(RankCorrelation.spearman([1, 2, 3, 4], [9, 8, 7, -6]) == -1)
    // Without ties 1 - 6 Σd² / n(n² - 1): d = 1, 1, 0, 1, 1 and n = 5, so 1 - 24/120.
    #expect(abs(RankCorrelation.spearman([1, 2, 3, 4, 5], [2, 1, 3, 5, 4])! - 0.8) < 1e-15)
  }

  /// Ranks 1.5, 1.5, 3, 4 and 1, 2, 3.5, 3.5 less 2.5: Σab = 1.5 + 0.5 + 0.5 + 1.5 = 4, Σa² = Σb² = 4.5.
  @Test func ties() {
    #expect(abs(RankCorrelation.spearman([7, 7, 8, 9], [1, 2, 3, 3])! - 4 / 4.5) < 1e-15)
  }

  @Test func whereItSaysNothing() {
    #expect(RankCorrelation.spearman([1, 2], [1, 2]) == nil)
    #expect(RankCorrelation.spearman([1, 1, 1], [1, 2, 3]) == nil)
    #expect(RankCorrelation.spearman([1, 2, .nan], [1, 2, 3]) == nil)
  }
}

@Suite struct LossLineTests {
  private func line(_ places: [Double], _ loss: (Double) -> Double) -> LossLine {
    LossLine(places.map { .init(t: $0, loss: loss($0)) })
  }

  @Test func places() {
    #expect(LossLine.places(11) == (0...10).map { Double($0) / 10 })
    #expect(LossLine.places(11, beyond: 1.5) == (0...15).map { Double($0) / 10 })
    #expect(LossLine.places(2) == [0, 1] && LossLine.places(2, beyond: 1.5) == [0, 1])
    #expect(LossLine.places(3, beyond: 1.5) == [0, 0.5, 1, 1.5])
    #expect(LossLine.places(101, beyond: 1.15).last == 1.15)
  }

  /// L(t) = 2 (1 + 0.04 t²) exceeds 2.02 at t = 0.5; linear pieces of h leave it at most h²/8 · L''/L' = h²/8 earlier.
  @Test(arguments: [11, 21, 101]) func aParabola(points: Int) {
    let basin = line(LossLine.places(points)) { 2 * (1 + 0.04 * $0 * $0) }.basin(exceedingBy: 0.01)
    let h = 1 / Double(points - 1)
    #expect(basin.isLeft && basin.t <= 0.5 + 1e-12 && basin.t >= 0.5 - h * h / 4)
  }

  @Test func aStraightLineIsExact() {
    let basin = line([0, 0.25, 1]) { 4 + $0 }.basin(exceedingBy: 0.1)
    #expect(basin.isLeft && abs(basin.t - 0.4) < 1e-15)
  }

  /// Only the first way out counts; falling losses never leave.
  @Test func theFirstWayOut() {
    #expect(abs(line([0, 0.5, 1]) { $0 == 0.5 ? 3 : 1 }.basin(exceedingBy: 1).t - 0.25) < 1e-15)
    let falling = line([0, 0.5, 1]) { 3 - $0 }.basin(exceedingBy: 0.01)
    #expect(falling.t == 1 && !falling.isLeft)
    #expect(line([0, 1, 1.5]) { _ in 1 }.basin(exceedingBy: 0).t == 1.5)
  }

  @Test func lossesThatAreNoNumbers() {
    for loss in [Double.nan, .infinity] {
      let basin = line([0, 0.5, 1]) { $0 == 1 ? loss : 1 }.basin(exceedingBy: 0.01)
      #expect(basin.isLeft && basin.t == 0.5)
    }
    #expect(line([0, 1]) { _ in .nan }.basin(exceedingBy: 0.01).t == 0)
  }
}

/// Distances and points of a line, on a model whose weights a counter makes.
@Suite struct WeightPathTests {
  /// Weights of a shape, value by value from a function of the tensor and the element.
  final class Source: ModelSource {
    let path = "made up"
    let configuration: ModelConfiguration
    let sidecarNames: [String] = []
    let value: (String, Int) -> Float

    init(_ value: @escaping (String, Int) -> Float) throws {
      let json = """
        {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
         "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10, "tie_word_embeddings": true}
        """
      configuration = try ModelConfiguration(json: Array(json.utf8), source: "test")
      self.value = value
    }

    func sidecar(_ name: String) throws -> [UInt8] { [] }
    func storedFormat(of name: String) -> String? { nil }
    func read(_ parameter: ParameterSpec, rows: Range<Int>, into values: inout MutableSpan<Float>) throws {
      for i in values.indices { values[i] = value(parameter.name, rows.lowerBound * parameter.columns + i) }
    }
  }

  private static func start(_ name: String, _ i: Int) -> Float { Float(i % 7) - 3 + (name.contains("norm") ? 0.5 : 0) }
  private static let moved = "model.layers.0.mlp.down_proj.weight"

  @Test func distancesAreThoseOfTheElements() throws {
    let arena = Arena("test")
    let start = try Source(Self.start)
    let end = try Source { name, i in Self.start(name, i) + (name == Self.moved && i < 10 ? 0.5 : 0) }
    let parameters = Parameters(end.configuration, in: arena)
    try end.load(into: parameters)
    let distances = try WeightDistances(from: start, to: parameters)
    #expect(distances.tensors.map(\.name) == parameters.layout.names)
    let tensor = try #require(distances.tensors.first { $0.name == Self.moved })
    let norm = (0..<96).reduce(0.0) { $0 + Double(Self.start("", $1)) * Double(Self.start("", $1)) }
    #expect(tensor.difference == 2.5 && tensor.start == norm && tensor.relativeError == 2.5 / norm)
    #expect(distances.tensors.allSatisfy { $0.name == Self.moved || $0.difference == 0 })
    #expect(distances.relativeDistance(over: [Self.moved]) == (2.5 / norm).squareRoot())
    let all = distances.tensors.reduce(0) { $0 + $1.start }
    #expect(distances.relativeDistance() == (2.5 / all).squareRoot())
    #expect(distances.summedRelativeError(over: [Self.moved, "model.norm.weight"]) == 2.5 / norm)
    #expect(distances.relativeDistance(over: ["model.norm.weight"]) == 0)
  }

  @Test func theEndsOfTheLineAreExact() throws {
    let arena = Arena("test")
    let start = try Source { name, i in Self.start(name, i) / 3 }, end = try Source { _, i in 1e-20 / Float(i + 3) }
    let target = Parameters(end.configuration, in: arena), point = Parameters(end.configuration, in: arena)
    try end.load(into: target)
    for t in [0, 0.25, 1, 1.5] {
      try point.interpolate(from: start, to: target, at: t)
      for (unit, spec) in point.layout.all {
        let region = point.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
        let values = region.span
        for i in values.indices {
          let a = Double(start.value(spec.name, i)), b = Double(end.value(spec.name, i))
          #expect(values[i] == Float((1 - t) * a + t * b))
          if t == 1 { #expect(values[i] == Float(b)) }
          if t == 0 { #expect(values[i] == Float(a)) }
        }
      }
    }
  }
}
