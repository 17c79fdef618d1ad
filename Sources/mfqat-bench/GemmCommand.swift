import ArgumentParser
import Checkpoints
import Kernels
import Transformer

/// `mfqat-bench gemm`: OpenBLAS on the shapes of a training step.
struct GemmCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gemm", abstract: "Matrix products of a training step: GFLOP/s of one thread.")

  @Option(help: "Model shape: \(BenchModel.allCases.map(\.rawValue).joined(separator: ", ")).")
  var config = BenchModel.stories15m
  @Option(help: "Sequences; the configuration's without.")
  var batch: Int?
  @Option(help: "Tokens a sequence; the configuration's without.")
  var context: Int?
  @Option(help: "Seconds for each product.")
  var seconds = 0.5
  @OptionGroup var report: ReportOptions

  func run() throws {
    let context = context ?? config.context, batch = batch ?? config.batch
    let model = try config.configuration(context: context)
    var table = Table(["product", "kind", "m", "n", "k", "a step", "GFLOP/s", "best", "spread", "ms a step"])
    var total = 0.0, operations = 0.0
    for product in MatrixProduct.ofStep(model, tokens: batch * context) {
      let sample = product.measure(seconds: seconds)
      let (m, n, k) = product.shape
      let median = sample.processor.median, rate = product.operations / median / 1e9
      let best = product.operations / sample.wall.least / 1e9
      total += median * Double(product.count)
      operations += product.operations * Double(product.count)
      report.line([
        ("bench", "gemm"), ("config", .string(config.rawValue)), ("product", .string(product.name)),
        ("kind", .string(product.kind.rawValue)), ("m", .integer(m)), ("n", .integer(n)), ("k", .integer(k)),
        ("accumulates", .bool(product.accumulates)), ("products_a_step", .integer(product.count)),
        ("gflops", rate.json), ("gflops_best", best.json), ("seconds_median", median.json),
        ("seconds_wall_median", sample.wall.median.json), ("seconds_min", sample.wall.least.json),
        ("spread", sample.wall.spread.json), ("measurements", .integer(sample.count)),
      ])
      table.add([
        product.name, product.kind.rawValue, "\(m)", "\(n)", "\(k)", "\(product.count)", rate.fixed(1), best.fixed(1),
        (100 * sample.wall.spread).fixed(0) + " %", (1000 * median * Double(product.count)).fixed(1),
      ])
    }
    table.add([
      "all", "", "", "", "", "", (operations / total / 1e9).fixed(1), "", "", (1000 * total).fixed(1),
    ])
    report.table("Products of a step of \(config.rawValue), \(batch) x \(context) tokens; rates from processor time", table)
  }
}
