import Foundation
import Testing
import Transformer

@Suite struct GenerationSamplerTests {
  static let logits: [Float] = [0, 2, -1, 2, 1, -30]

  func draws(_ sampler: Sampler, _ count: Int) throws -> [Double] {
    var counts = [Double](repeating: 0, count: Self.logits.count)
    for position in 0..<count { counts[Int(try sampler.sample(Self.logits.span, position: position))] += 1 }
    return counts.map { $0 / Double(count) }
  }

  @Test func zeroTakesTheFirstOfTheMostLikely() throws {
    #expect(try Sampler().sample(Self.logits.span, position: 9) == 1)
    #expect(try Sampler(temperature: 3, topK: 1).sample(Self.logits.span, position: 9) == 1)
  }

  @Test(arguments: [0.5, 1, 2]) func sharesAreThoseOfTheSoftmax(temperature: Double) throws {
    let weights = Self.logits.map { exp(Double($0) / temperature) }
    let sum = weights.reduce(0, +)
    let shares = try draws(Sampler(temperature: temperature, seed: 1), 40_000)
    // Four standard deviations of a share of 40000 draws are below 0.01.
    for (share, weight) in zip(shares, weights) { #expect(abs(share - weight / sum) < 0.01) }
  }

  @Test func restrictionsKeepTheMostLikely() throws {
    let two = try draws(Sampler(temperature: 1, topK: 2), 2000)
    #expect(two[1] + two[3] == 1 && abs(two[1] - 0.5) < 0.05)
    #expect(try draws(Sampler(temperature: 1, topK: 100), 500) == draws(Sampler(temperature: 1, topP: 1), 500))
    // Probabilities 0.384, 0.384, 0.141, 0.052, 0.019: 0.8 needs three of them.
    let three = try draws(Sampler(temperature: 1, topP: 0.8), 2000)
    #expect(three[1] > 0 && three[3] > 0 && three[4] > 0 && three[0] + three[2] + three[5] == 0)
    let least = try draws(Sampler(temperature: 1, topP: 1e-9), 200)
    #expect(least[1] == 1)
    let both = try draws(Sampler(temperature: 1, topK: 2, topP: 0.4), 200)
    #expect(both[1] == 1)
  }

  @Test func aDrawDependsOnSeedAndPositionOnly() throws {
    let a = try Sampler(temperature: 1, seed: 7), b = try Sampler(temperature: 1, seed: 7)
    let forward = try (0..<50).map { try a.sample(Self.logits.span, position: $0) }
    let backward = try (0..<50).reversed().map { try b.sample(Self.logits.span, position: $0) }
    #expect(forward == backward.reversed())
    let other = try Sampler(temperature: 1, seed: 8)
    #expect(try (0..<50).map { try other.sample(Self.logits.span, position: $0) } != forward)
  }

  @Test func nonsenseIsRefused() throws {
    anchorRefusal("temperature") { _ = try Sampler(temperature: -1) }
    anchorRefusal("temperature") { _ = try Sampler(temperature: .infinity) }
    anchorRefusal("top-k") { _ = try Sampler(topK: 0) }
    anchorRefusal("top-p") { _ = try Sampler(topP: 1.5) }
    anchorRefusal("token 2 at position 4") {
      _ = try Sampler().sample(([0, 1, .nan] as [Float]).span, position: 4)
    }
  }
}
