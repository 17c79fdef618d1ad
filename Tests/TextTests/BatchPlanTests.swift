import Testing
import Text

@Suite struct BatchPlanTests {
  @Test func permutationIsABijection() {
    for count in 1...200 {
      for epoch in 0..<3 {
        let permutation = WindowPermutation(count: count, seed: 11, epoch: epoch)
        var seen = [Bool](repeating: false, count: count)
        for index in 0..<count {
          let image = permutation[index]
          #expect(image >= 0 && image < count && !seen[image], "count \(count), epoch \(epoch), index \(index)")
          seen[image] = true
        }
      }
    }
  }

  @Test func permutationsDifferByEpochAndSeed() {
    func images(_ seed: UInt64, _ epoch: Int) -> [Int] {
      let permutation = WindowPermutation(count: 100, seed: seed, epoch: epoch)
      return (0..<100).map { permutation[$0] }
    }
    let all = [images(1, 0), images(1, 1), images(1, 2), images(2, 0), images(3, 0)]
    #expect(Set(all).count == all.count)
    #expect(images(1, 1) == images(1, 1))
    #expect(!all.contains(Array(0..<100)))
  }

  /// Every window comes to every place about equally often; 24 orders of 4 windows all occur.
  @Test func permutationHasNoFavourites() {
    var orders: [[Int]: Int] = [:]
    var places = [[Int]](repeating: [Int](repeating: 0, count: 10), count: 10)
    for epoch in 0..<2400 {
      let four = WindowPermutation(count: 4, seed: 5, epoch: epoch)
      orders[(0..<4).map { four[$0] }, default: 0] += 1
      let ten = WindowPermutation(count: 10, seed: 5, epoch: epoch)
      for index in 0..<10 { places[index][ten[index]] += 1 }
    }
    #expect(orders.count == 24)
    // 240 expected, standard deviation 14.7.
    #expect(places.joined().allSatisfy { $0 > 150 && $0 < 330 })
  }

  @Test func everyEpochVisitsEveryWindowOnce() throws {
    let plan = try BatchPlan(tokenCount: 1003, context: 10, seed: 3)
    #expect(plan.windowCount == 100)
    for epoch in 0..<4 {
      let windows = (0..<100).map { plan.windowIndex(sample: 100 * epoch + $0) }
      #expect(Set(windows) == Set(0..<100))
    }
  }

  @Test func withoutShufflingWindowsComeInOrder() throws {
    let plan = try BatchPlan(tokenCount: 35, context: 10, seed: 3, shuffle: false)
    #expect((0..<7).map { plan.windowIndex(sample: $0) } == [0, 1, 2, 0, 1, 2, 0])
  }

  @Test func samplesHaveTheirTokensAndTargets() throws {
    let ids = (0..<57).map { Int32($0) }
    let stream = TokenStream.memory(ids)
    let plan = try BatchPlan(stream, context: 8, seed: 9)
    for sample in 0..<21 {
      let window = plan.windowIndex(sample: sample)
      var input = [Int32](repeating: -7, count: 8), targets = input
      var inputSpan = input.mutableSpan, targetSpan = targets.mutableSpan
      plan.fill(ids: &inputSpan, targets: &targetSpan, sample: sample, from: stream)
      #expect(input == Array(ids[(8 * window)..<(8 * window + 8)]))
      #expect(targets == Array(input.dropFirst()) + [-1])
    }
  }

  @Test func tooShortTextSaysHowShort() throws {
    let error = try #require(throws: TextError.self) { try BatchPlan(.memory([1, 2, 3]), context: 4, seed: 0) }
    #expect(error.kind == .tooShort)
    #expect(error.description.contains("4 tokens") && error.description.contains("3 tokens"))
    #expect(try BatchPlan(.memory([1, 2, 3, 4]), context: 4, seed: 0).windowCount == 1)
  }
}
