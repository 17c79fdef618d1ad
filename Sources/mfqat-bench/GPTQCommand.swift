import ArgumentParser
import Calibration
import Checkpoints
import Formats
import Kernels
import Tensors

/// `mfqat-bench gptq`: rounding with error feedback beside the matrix product that bounds it.
struct GPTQCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gptq", abstract: "GPTQ of one weight: seconds, and a share of the rate of fp32 products.",
    discussion: """
      Factoring the K x K moments (in fp64) counts K³/3 operations, the sweep over an N x K weight N·K². GPTQ as \
      published also inverts: 2K³/3 for both; `nominal` rates count those. The product is one of 2048 x 2048 x 2048 in \
      the same process, on the same threads, in turns with the solver.
      """)

  enum Method: String, ExpressibleByArgument, CaseIterable {
    case nearest, columns, frozen, actorder, blocks, targets
  }

  @Option(help: "Rows N of the weight.")
  var rows = 4096
  @Option(help: "Columns K.")
  var columns = 4096
  @Option(help: "Number format.")
  var format = "mxint4"
  @Option(help: "\(Method.allCases.map(\.rawValue).joined(separator: ", ")).")
  var method = Method.columns
  @Option(help: "Scales: floor, better, mse2 or mse2.4.")
  var scales = "floor"
  @Option(help: "Threads.")
  var threads = 1
  @Option(help: "Turns.")
  var turns = 3
  @OptionGroup var report: ReportOptions

  func run() throws {
    let plan = try makePlan()
    ThreadTeam.configure(threads: threads)
    let arena = Arena("gptq"), K = columns
    var weight = Tensor(rows: rows, columns: K, in: arena)
    weight.fillWithNoise(seed: 3)
    // Neighbouring channels that move together: C = Σ xᵀx of an autoregression, with its inverse known to be tame.
    let gram = Gram(columns: K, tokens: 1, in: arena)
    for i in 0..<K {
      for j in 0..<K { gram.values[i * K + j] = Double(sign: .plus, exponent: -min(60, abs(i - j)), significand: 1) }
    }
    var packed = PackedTensor(plan.format, rows: rows, columns: K, in: arena)
    let size = 2048
    var a = Tensor(rows: size, columns: size, in: arena), b = Tensor(rows: size, columns: size, in: arena)
    var c = Tensor(rows: size, columns: size, in: arena)
    a.fillWithNoise(seed: 1)
    b.fillWithNoise(seed: 2)

    var product = Sample(), factor = Sample(), sweep = Sample()
    for turn in 0...turns {
      let multiplied = Sample.one { Linear.forward(&c, of: a, weight: b) }
      let start = Instant.now
      let solver = try RoundingSolver(plan, columns: K, gram: gram, name: "bench")
      let factored = Instant.now
      try solver.solve(weight, tiles: 0..<RoundingSolver.tileCount(rows: rows), into: &packed)
      let solved = Instant.now
      guard turn > 0 else { continue }
      product.add(multiplied)
      factor.add(factored - start)
      sweep.add(solved - factored)
    }
    let N = Double(rows), k = Double(K), threads = Double(threads)
    let rate = 2 * Double(size * size * size) / product.processor.median
    let seconds = factor.processor.median + sweep.processor.median
    let operations = N * k * k + k * k * k / 3, nominal = N * k * k + k * k * k * 2 / 3
    let share = operations / seconds / rate, nominalShare = nominal / seconds / rate
    report.line([
      ("bench", "gptq"), ("format", .string(plan.format.name)), ("method", .string(method.rawValue)),
      ("scales", .string(scales)), ("rows", .integer(rows)), ("columns", .integer(K)), ("threads", .integer(self.threads)),
      ("factor_seconds", factor.processor.median.json), ("factor_seconds_wall", factor.wall.median.json),
      ("sweep_seconds", sweep.processor.median.json), ("sweep_seconds_wall", sweep.wall.median.json),
      ("operations", operations.json), ("operations_nominal", nominal.json), ("gemm_gflops", (rate / 1e9).json),
      ("of_gemm", share.json), ("of_gemm_nominal", nominalShare.json), ("measurements", .integer(turns)),
    ])
    var table = Table(["part", "processor s", "wall s", "GFLOP", "GFLOP/s a thread", "of fp32 products"])
    for (name, sample, operations) in [
      ("factor", factor, k * k * k / 3), ("sweep", sweep, N * k * k),
    ] {
      let own = operations / sample.processor.median
      table.add([
        name, sample.processor.median.fixed(3), sample.wall.median.fixed(3), (operations / 1e9).fixed(1),
        (own / 1e9).fixed(1), (100 * own / rate).fixed(0) + " %",
      ])
    }
    for (name, operations, share) in [("both", operations, share), ("both, nominal", nominal, nominalShare)] {
      table.add([
        name, seconds.fixed(3), (factor.wall.median + sweep.wall.median).fixed(3), (operations / 1e9).fixed(1),
        (operations / seconds / 1e9).fixed(1), (100 * share).fixed(0) + " %",
      ])
    }
    table.add(["fp32 product", product.processor.median.fixed(3), product.wall.median.fixed(3),
      (2 * Double(size * size * size) / 1e9).fixed(1), (rate / 1e9).fixed(1), "100 %"])
    report.table(
      "GPTQ (\(method.rawValue), scales \(scales)) of \(rows) x \(K) in \(plan.format), \(Int(threads)) threads", table)
  }

  private func makePlan() throws -> RoundingPlan {
    let format = try MXFormat(named: format)
    var plan = RoundingPlan(format: format)
    switch method {
    case .nearest: plan.method = .nearest
    case .columns: plan.method = .columns(.current)
    case .frozen: plan.method = .columns(.frozen)
    case .actorder: (plan.method, plan.order) = (.columns(.frozen), .descendingEnergy)
    case .blocks: plan.method = .blocks
    case .targets:
      plan.method = .columns(.frozen)
      plan.targets = SlicePlan.formatsCut(from: format).map { RoundingTarget($0) }
    }
    switch scales {
    case "floor": plan.scales = .rule(.floor)
    case "better": plan.scales = .betterOfTwo
    case "mse2": plan.scales = .search(norm: 2, from: -3, through: 1)
    case "mse2.4": plan.scales = .search(norm: 2.4, from: -3, through: 1)
    default: throw ValidationError("scales \(scales): floor, better, mse2 and mse2.4 exist")
    }
    return plan
  }
}
