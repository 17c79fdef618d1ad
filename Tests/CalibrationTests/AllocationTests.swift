import Calibration
import Checkpoints
import Communication
import Formats
import Foundation
import Tensors
import Testing
import Transformer

@Suite struct BudgetProblemTests {
  /// Items of random costs and sizes; few enough to try every choice.
  private func random(_ seed: UInt64, items: Int, options: Int, sizeUnit: Int, cellLimit: Int = 1 << 26) -> BudgetProblem {
    let random = CounterRandom(seed: seed)
    var counter: UInt64 = 0
    func next(_ bound: UInt64) -> Int {
      counter += 1
      return Int(random.integer(counter, below: bound))
    }
    // Few distinct costs, so that ties occur.
    let costs = (0..<items).map { _ in (0..<options).map { _ in Double(next(seed % 2 == 0 ? 6 : 1_000_000)) } }
    let bytes = (0..<items).map { _ in (0..<options).map { _ in sizeUnit * (1 + next(20)) } }
    return BudgetProblem(costs: costs, bytes: bytes, cellLimit: cellLimit)
  }

  private func everyChoice(_ problem: BudgetProblem, _ body: ([Int]) -> Void) {
    var choice = [Int](repeating: 0, count: problem.costs.count)
    while true {
      body(choice)
      var item = 0
      while item < choice.count {
        choice[item] += 1
        if choice[item] < problem.costs[item].count { break }
        choice[item] = 0
        item += 1
      }
      if item == choice.count { return }
    }
  }

  @Test(arguments: 0..<40 as Range<UInt64>)
  func isTheBestOfAllChoices(seed: UInt64) throws {
    let problem = random(seed, items: 5, options: 4, sizeUnit: seed % 3 == 0 ? 1 : 4096)
    let most = problem.bytes.reduce(0) { $0 + ($1.max() ?? 0) }
    for budget in stride(from: problem.leastBytes, through: most + 1, by: max(1, (most - problem.leastBytes) / 13)) {
      var best = Double.infinity, fewest = Int.max
      everyChoice(problem) { choice in
        let bytes = problem.bytes(of: choice), cost = problem.cost(of: choice)
        guard bytes <= budget, (cost, bytes) < (best, fewest) else { return }
        (best, fewest) = (cost, bytes)
      }
      let found = try #require(problem.solve(budget: budget))
      #expect(problem.cost(of: found) == best && problem.bytes(of: found) <= budget, "budget \(budget)")
      #expect(problem.bytes(of: found) == fewest, "of equally good choices the smallest")
    }
    #expect(problem.solve(budget: problem.leastBytes - 1) == nil)
  }

  /// Choices on the convex hull: what a sweep of λ in cost + λ · bytes finds. No better than the program, and as good
  /// where its own bytes are the budget.
  @Test(arguments: 0..<10 as Range<UInt64>)
  func choicesOfALagrangianAreReproduced(seed: UInt64) throws {
    let problem = random(2 * seed + 1, items: 60, options: 6, sizeUnit: 128)
    for power in stride(from: -4.0, through: 6, by: 0.5) {
      let price = pow(10, power)
      let choice = problem.costs.indices.map { item in
        problem.costs[item].indices.min {
          problem.costs[item][$0] + price * Double(problem.bytes[item][$0])
            < problem.costs[item][$1] + price * Double(problem.bytes[item][$1])
        }!
      }
      let budget = problem.bytes(of: choice)
      let found = try #require(problem.solve(budget: budget))
      #expect(abs(problem.cost(of: found) - problem.cost(of: choice)) <= 1e-9 * problem.cost(of: choice))
      #expect(problem.bytes(of: found) <= budget)
    }
  }

  /// A table that is too small for the exact unit keeps the budget and is not far off.
  @Test(arguments: 0..<10 as Range<UInt64>)
  func coarseUnitsKeepTheBudget(seed: UInt64) throws {
    let exact = random(2 * seed + 1, items: 40, options: 5, sizeUnit: 1)
    let coarse = BudgetProblem(costs: exact.costs, bytes: exact.bytes, cellLimit: 40 * 50)
    for budget in stride(from: exact.leastBytes, through: 40 * 20, by: 37) {
      let best = try #require(exact.solve(budget: budget)), found = try #require(coarse.solve(budget: budget))
      #expect(coarse.bytes(of: found) <= budget)
      let all = exact.cost(of: try #require(exact.solve(budget: exact.leastBytes)))
      #expect(exact.cost(of: found) - exact.cost(of: best) <= 0.1 * all + 1e-9)
      for option in 0..<5 {
        let uniform = [Int](repeating: option, count: 40)
        if exact.bytes(of: uniform) <= budget { #expect(coarse.cost(of: found) <= coarse.cost(of: uniform)) }
      }
    }
  }
}

/// A Llama of two layers with grouped queries, rows that end inside a block among its matrices.
private enum Tiny {
  static let json = """
    {"architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2,
     "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 61, "max_position_embeddings": 32,
     "rms_norm_eps": 1e-5, "tie_word_embeddings": false}
    """
  static let configuration = try! ModelConfiguration(json: Array(json.utf8), source: "tiny")

  static func parameters(in arena: Arena) -> Parameters {
    let parameters = Parameters(configuration, in: arena)
    for (unit, spec) in parameters.layout.all {
      let random = CounterRandom(seed: 3, stream: spec.name)
      var region = parameters.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
      var values = region.mutableSpan
      let size: Float = 3 / Float(spec.columns).squareRoot()
      for i in 0..<spec.count {
        let uniform = Float(random.uniform(UInt64(i))) - 0.5
        values[i] = spec.role == .norm ? 1 + 0.2 * uniform : size * uniform
      }
    }
    return parameters
  }

  static let windows: [[Int32]] = (0..<5).map { window in
    let random = CounterRandom(seed: 9, stream: UInt64(window))
    return (0..<16).map { Int32(random.integer(UInt64($0), below: 61)) }
  }

  static func bits(_ parameters: Parameters) -> [UInt32] {
    var bits: [UInt32] = []
    for unit in parameters.units {
      let flat = unit.flat.region(0, rows: 1, columns: unit.flat.count), span = flat.span
      for i in 0..<span.count { bits.append(span[i].bitPattern) }
    }
    return bits
  }
}

@Suite struct AllocationTests {
  @Test func groupsAreTheProductsOfALayer() throws {
    let groups = AllocationGroup.all(of: Tiny.configuration)
    #expect(groups.map(\.name) == (0..<2).flatMap { layer in
      ["self_attn.{q,k,v}_proj", "self_attn.o_proj", "mlp.{gate,up}_proj", "mlp.down_proj"].map {
        "model.layers.\(layer).\($0).weight"
      }
    })
    #expect(groups[0].weights == 32 * (32 + 2 * 16) && groups[3].weights == 32 * 56)
    #expect(groups[0].bytes(in: .mxint4) == 64 * (16 + 1))
    // 56 columns of 3 bits are 21 bytes, two scales beside them.
    #expect(groups[3].bytes(in: .mxint3) == 32 * (21 + 2))
    let some = AllocationGroup.all(of: Tiny.configuration) { $0.hasSuffix("1.mlp.up_proj.weight") || $0.contains("k_proj") }
    #expect(some.map(\.name) == [
      "model.layers.0.self_attn.k_proj.weight", "model.layers.1.self_attn.k_proj.weight",
      "model.layers.1.mlp.up_proj.weight",
    ])
  }

  private let candidates: [MXFormat] = [.mxint2, .mxint3, .mxint4, .mxint5, .mxint6, .mxint8]

  private func errors(_ groups: [AllocationGroup]) -> FormatErrors {
    FormatErrors(
      formats: candidates, squares: groups.map { _ in candidates.map { pow(4, -Double($0.bits)) } })
  }

  @Test func budgetsHoldToTheByteAndUniformFormatsComeBack() throws {
    let groups = AllocationGroup.all(of: Tiny.configuration), errors = errors(groups)
    let weights = groups.reduce(0) { $0 + $1.weights }
    let alphas = groups.indices.map { pow(10, Double($0 % 4)) }
    for format in candidates {
      let uniform = FormatAllocation.uniform(groups: groups, alphas: alphas, errors: errors, format: format)
      #expect(uniform.bytes == groups.reduce(0) { $0 + $1.bytes(in: format) })
      let best = try FormatAllocation.best(
        groups: groups, alphas: alphas, errors: errors, bitsPerWeight: uniform.bitsPerWeight)
      #expect(best.bytes <= uniform.bytes && best.predicted <= uniform.predicted)
      // A byte less does not hold it any more.
      if format == .mxint2 || format == .mxint8 {
        #expect(best.formats == uniform.formats, "only one choice is left")
      } else {
        #expect(best.predicted < uniform.predicted && Set(best.formats).count > 1)
      }
    }
    for budget in stride(from: 2.5, through: 9, by: 0.01) {
      let best = try FormatAllocation.best(groups: groups, alphas: alphas, errors: errors, bitsPerWeight: budget)
      #expect(8 * Double(best.bytes) <= budget * Double(weights) * (1 + 1e-12))
      #expect(abs(best.predicted - best.shares.reduce(0, +)) <= 1e-12 * best.predicted)
      let (perWeight, _) = FormattedWeights.bits(ParameterLayout(Tiny.configuration), formats: best.plan.formats)
      #expect(perWeight == best.bitsPerWeight)
    }
    // Where all weigh the same there is nothing to gain: the formats differ only to fill the budget.
    let even = try FormatAllocation.best(
      groups: groups, alphas: groups.map { Double($0.weights) }, errors: errors,
      bitsPerWeight: FormatAllocation.uniform(groups: groups, alphas: alphas, errors: errors, format: .mxint4).bitsPerWeight)
    #expect(even.formats.allSatisfy { (3...5).contains($0.bits) }, "\(even.formats)")
  }

  @Test func budgetsThatHoldNothingAreRefused() throws {
    let groups = AllocationGroup.all(of: Tiny.configuration)
    do {
      _ = try FormatAllocation.best(
        groups: groups, alphas: groups.map { _ in 1 }, errors: errors(groups), bitsPerWeight: 2)
      Issue.record("nothing was refused")
    } catch { #expect("\(error)".contains("budget of 2.0") && "\(error)".contains("need 2.2"), "\(error)") }
  }

  /// The budget is weighted by parameters: a small group of the same sensitivity per t² gets the bits first.
  @Test func smallGroupsAreUpgradedFirst() throws {
    let groups = AllocationGroup.all(of: Tiny.configuration)
    let best = try FormatAllocation.best(
      groups: groups, alphas: groups.map { _ in 1 }, errors: errors(groups), bitsPerWeight: 4.7)
    for (a, b) in zip(groups.indices, groups.indices.dropFirst()) where groups[a].weights < groups[b].weights {
      #expect(best.formats[a].bits >= best.formats[b].bits)
    }
    #expect(best.formats[1].bits > best.formats[2].bits)
  }

  @Test func plansAndReportsAreJSON() throws {
    let groups = AllocationGroup.all(of: Tiny.configuration)
    let sensitivities = groups.enumerated().map { index, group in
      GroupSensitivity(group: group, samples: [.init(level: 0.1, change: 0.01 * Double(index + 1))])
    }
    #expect(abs(sensitivities[2].alpha - 3) < 1e-12)
    let report = try AllocationReport(
      sensitivities, errors: errors(groups), budget: 4.5, settings: NoiseSensitivity(), objective: .divergence,
      tokensScored: 75)
    let json = try JSONScanner.parse(report.json.serialized())
    #expect(json["objective"] == "kl" && json["groups"]?.array?.count == 8 && json["uniform"]?.array?.count == 6)
    #expect(json["bits_per_weight"]?.double == report.allocation.bitsPerWeight)
    #expect(report.table.rows.count == 8 && report.table.rows.allSatisfy { $0.count == report.table.header.count })
    #expect(report.table.rows[2][2] == "3.0")

    let plan = report.plan
    #expect(try AllocationPlan(json: JSONScanner.parse(plan.json.serialized()), source: "test") == plan)
    #expect(plan["model.layers.0.self_attn.k_proj.weight"] == plan["model.layers.0.self_attn.v_proj.weight"])
    #expect(plan.formats.count == 14 && plan.mix(ParameterLayout(Tiny.configuration)).isMixed)
    for (text, words) in [("[]", "is an object"), (#"{"a": 4}"#, "is a name"), (#"{"a": "mxint9"}"#, "mxint9")] {
      do {
        _ = try AllocationPlan(json: JSONScanner.parse(Array(text.utf8)), source: "test")
        Issue.record("nothing was refused")
      } catch { #expect("\(error)".contains(words), "\(error)") }
    }
  }

  struct Measured: Sendable, Equatable {
    var alphas: [UInt64] = []
    var changes: [UInt64] = []
    var squares: [UInt64] = []
    var isRestored = false
  }

  private static func measure(
    _ communicator: Communicator, _ objective: OutputProbe.Objective, _ noise: NoiseSensitivity.Noise
  ) throws -> Measured {
    let arena = Arena("test"), parameters = Tiny.parameters(in: arena), before = Tiny.bits(parameters)
    let groups = AllocationGroup.all(of: Tiny.configuration)
    let probe = try OutputProbe(parameters, windows: Tiny.windows, objective: objective, sequences: 2, in: arena)
    let sensitivities = try NoiseSensitivity(levels: [0.03, 0.1, 0.2], draws: 2, noise: noise, seed: 5).measure(
      parameters, groups: groups, probe: probe, on: communicator, in: arena)
    let errors = try FormatErrors.ofRounding(
      parameters, groups: groups, formats: [.mxint3, .mxfp4, .mxint6], on: communicator, in: arena)
    return Measured(
      alphas: sensitivities.map(\.alpha.bitPattern),
      changes: sensitivities.flatMap { $0.samples.map(\.change.bitPattern) },
      squares: errors.squares.flatMap { $0.map(\.bitPattern) }, isRestored: Tiny.bits(parameters) == before)
  }

  @Test(arguments: OutputProbe.Objective.allCases, NoiseSensitivity.Noise.allCases)
  func sensitivitiesDoNotDependOnTheRanks(objective: OutputProbe.Objective, noise: NoiseSensitivity.Noise) throws {
    let alone = try Self.measure(.solo(), objective, noise)
    #expect(alone.isRestored && alone.alphas.count == 8 && alone.changes.count == 48 && alone.squares.count == 24)
    #expect(alone.changes.allSatisfy { Double(bitPattern: $0).isFinite } && Set(alone.changes).count > 40)
    if objective == .divergence {
      #expect(alone.changes.allSatisfy { Double(bitPattern: $0) > 0 })
      // Linear in t²: the level of .2 moves about four times as much as that of .1.
      for group in 0..<8 {
        let at = (0..<6).map { Double(bitPattern: alone.changes[group * 6 + $0]) }
        #expect((2.5...5.5).contains((at[4] + at[5]) / (at[2] + at[3])), "\(at)")
      }
    }
    for ranks in 1...4 {
      for measured in try Communicator.onThreads(ranks, { try Self.measure($0, objective, noise) }) {
        #expect(measured == alone, "\(ranks) ranks")
      }
    }
  }

  @Test func aProbeOfItselfIsZeroAndRefusesWhatItCannotRun() throws {
    let arena = Arena("test"), parameters = Tiny.parameters(in: arena)
    for objective in OutputProbe.Objective.allCases {
      let probe = try OutputProbe(parameters, windows: Tiny.windows, objective: objective, sequences: 3, in: arena)
      #expect(probe.change(parameters) == 0 && probe.tokensScored == 75)
    }
    for (windows, words) in [([], "one or more"), ([[1, 2], [1]], "same length"), ([[1, 61]], "token 61")] as [([[Int32]], String)] {
      do {
        _ = try OutputProbe(parameters, windows: windows, sequences: 1, in: arena)
        Issue.record("nothing was refused")
      } catch { #expect("\(error)".contains(words), "\(error)") }
    }
  }

  /// t² of a table against the scalar codec.
  @Test func errorsAreThoseOfTheCodec() throws {
    let arena = Arena("test"), parameters = Tiny.parameters(in: arena)
    let groups = AllocationGroup.all(of: Tiny.configuration)
    let errors = try FormatErrors.ofRounding(parameters, groups: groups, formats: [.mxint4], on: .solo(), in: arena)
    for (group, squares) in zip(groups, errors.squares) {
      var error = 0.0, norm = 0.0
      for spec in group.tensors {
        for row in 0..<spec.rows {
          let start = spec.offset + row * spec.columns
          let flat = parameters.units[group.unit].flat.region(start, rows: 1, columns: spec.columns), span = flat.span
          var values: [Float] = []
          for i in 0..<span.count { values.append(span[i]) }
          let rounded = ScalarCodec.dequantize(ScalarCodec.quantize(row: values, as: .mxint4), from: .mxint4)
          for (a, b) in zip(values, rounded) {
            error += Double(a - b) * Double(a - b)
            norm += Double(a) * Double(a)
          }
        }
      }
      #expect(abs(squares[0] - error / norm) < 1e-9 * squares[0] && squares[0] > 1e-4)
    }
  }
}
