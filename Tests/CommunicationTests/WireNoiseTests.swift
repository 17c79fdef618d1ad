import Communication
import Tensors
import Testing

/// What rounding on the way does to sums of gradients, in one step and over many. Ranks are threads on nodes by hand.
@Suite(.enabled(if: Launch.current == .alone, "the same on every rank of a job")) struct WireNoiseTests {
  private static let matrix = RowShards.Matrix(rows: 64, columns: 512)
  private static let unit = [RowShards.Matrix(rows: 256, columns: 512)]
  private static let fourNodesOfFour = NodeMap(sizes: [4, 4, 4, 4])

  /// Section 3's table, "two-level 8/4 + H32", sums over 16 workers. The figures there round all four nodes' sums; here
  /// an owner's node is not rounded for itself, so errors are √(3/4) of them.
  @Test(arguments: [
    (GradientModel.gaussian, 0.118, 0.166), (.student, 0.116, 0.164), (.agreeing, 0.062, 0.087),
  ])
  func errorsOfTwoLevels(_ model: GradientModel, _ nearest: Double, _ stochastic: Double) throws {
    for (isStochastic, table) in [(false, nearest), (true, stochastic)] {
      let error = try noise(
        .init(.twoLevel, isStochastic: isStochastic, seed: 5), on: Self.fourNodesOfFour, unit: Self.unit, model)[0]
      print("figure: two_level, 4 nodes of 4 ranks, \(model), \(isStochastic ? "stochastic" : "nearest"): "
        + "\(error), table \(table), ratio \(error / table)")
      #expect(abs(error / table - 1) <= 0.25, "\(model), stochastic \(isStochastic): \(error), table \(table)")
      #expect(abs(error / (0.75.squareRoot() * table) - 1) <= 0.05, "\(model), stochastic \(isStochastic): \(error)")
    }
  }

  /// Workers that agree: flat messages average 15 errors of 8 bits instead of 3 of 4 bits.
  @Test func errorsOfFlatCodes() throws {
    for (model, bound) in [(GradientModel.gaussian, 0.011), (.student, 0.011), (.agreeing, 0.004)] {
      let error = try noise(.init(.int8), on: Self.fourNodesOfFour, unit: Self.unit, model)[0]
      print("figure: int8, 16 ranks, \(model), stochastic: \(error)")
      #expect(error <= bound, "\(model): \(error)")
    }
  }

  private static let codedOnNodes: [(GradientWire, NodeMap)] = [
    (.int8, NodeMap(sizes: [3])), (.twoLevel, NodeMap(sizes: [3])), (.twoLevel, NodeMap(sizes: [2, 2])),
    (.twoLevel, NodeMap(sizes: [1, 1, 1])), (.twoLevel, NodeMap(labels: [0, 1, 0, 1])),
  ]

  /// By chance, the mean over seeds comes as much nearer as that of independent errors, 1/√64; to nearest it stays.
  @Test(arguments: codedOnNodes) func stochasticRoundingHasNoBias(_ wire: GradientWire, _ nodes: NodeMap) throws {
    let draws = 64
    let seeds = try meanErrors(draws, on: nodes) { seed in .init(wire, seed: UInt64(seed)) }
    let steps = try meanErrors(draws, on: nodes) { _ in .init(wire, seed: 77) }
    for (name, errors) in [("seeds", seeds), ("steps", steps)] {
      print("figure: \(wire), \(nodes.description), mean over \(draws) \(name): "
        + "\(errors[0]) falls to \(errors[draws - 1])")
      #expect(abs(errors[draws - 1] / errors[0] * 8 - 1) < 0.1, "\(name): \(errors[0]) falls to \(errors[draws - 1])")
    }
    #expect(seeds[0] != steps[0], "two seeds round alike")
    let nearest = try meanErrors(draws, on: nodes) { _ in .init(wire, isStochastic: false) }
    #expect(abs(nearest[draws - 1] / nearest[0] - 1) < 1e-3)
  }

  /// The same gradients for 50 steps: what is delivered on average comes as near as 1/steps, because what is lost is
  /// bounded and sent later. Without feedback the error of the first step is there for good.
  @Test(arguments: codedOnNodes) func feedbackDeliversWhatWasLost(_ wire: GradientWire, _ nodes: NodeMap) throws {
    let steps = 50
    let with = try meanErrors(steps, on: nodes) { _ in .init(wire, isStochastic: false, feedsBack: true) }
    let without = try meanErrors(steps, on: nodes) { _ in .init(wire, isStochastic: false) }
    print("figure: \(wire), \(nodes.description), nearest, mean over 1, 10, 50 steps: "
      + "\(with[0]), \(with[9]), \(with[49]) with feedback, \(without[49]) without")
    let worst = with.indices.map { with[$0] * Double($0 + 1) }.max()!
    #expect(worst <= 1.5 * with[0], "\(worst) / steps, expected about \(with[0]) / steps")
    #expect(abs(without[49] / without[0] - 1) < 1e-3)

    let chance = try meanErrors(steps, on: nodes) { _ in .init(wire, feedsBack: true) }
    #expect(chance[49] * 50 <= 1.5 * chance[0], "by chance with feedback: \(chance[49]) after \(chance[0])")
  }

  // MARK: Errors

  /// Relative error of the mean of the first 1, 2, ... steps.
  private func meanErrors(
    _ steps: Int, on nodes: NodeMap, _ options: @escaping @Sendable (_ step: Int) -> GradientWireOptions
  ) throws -> [Double] {
    try Communicator.onThreads(nodes.rankCount, nodes: nodes) { communicator in
      let unit = [Self.matrix]
      var reduction = try Reduction(communicator, [unit], options: options(0))
      let workers = (0..<communicator.size).map {
        GradientModel.gaussian.gradient(ofWorker: $0, Self.matrix.elementCount)
      }
      let expected = shard(exactSum(workers), of: reduction.units[0], rank: communicator.rank)
      var total = [Double](repeating: 0, count: expected.count)
      var errors: [Double] = []
      for step in 0..<steps {
        if step > 0, options(step) != options(0) {
          reduction = try Reduction(communicator, [unit], options: options(step))
        }
        // With a seed of its own every draw is the same step.
        let found = try reduction.sum(workers[communicator.rank], step: options(1) != options(0) ? 0 : step)
        for index in total.indices { total[index] += Double(found[index]) }
        errors.append(try relativeError(total.map { $0 / Double(step + 1) }, expected, communicator))
      }
      return errors
    }[0]
  }

  /// Relative error of one sum, by rank (all the same).
  private func noise(
    _ options: GradientWireOptions, on nodes: NodeMap, unit: [RowShards.Matrix], _ model: GradientModel
  ) throws -> [Double] {
    let count = unit.reduce(0) { $0 + $1.elementCount }
    let workers = (0..<nodes.rankCount).map { model.gradient(ofWorker: $0, count) }
    let sum = exactSum(workers)
    return try Communicator.onThreads(nodes.rankCount, nodes: nodes) { communicator in
      let reduction = try Reduction(communicator, [unit], options: options)
      let found = try reduction.sum(workers[communicator.rank]).map { Double($0) }
      return try relativeError(found, shard(sum, of: reduction.units[0], rank: communicator.rank), communicator)
    }
  }
}
