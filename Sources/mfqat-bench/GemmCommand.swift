import ArgumentParser
import Checkpoints
import Kernels
import Transformer

/// `mfqat-bench gemm`: the matrix products of a training step, in fp32 and in low precision.
struct GemmCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gemm", abstract: "Matrix products of a training step: GFLOP/s of one thread.",
    discussion: """
      First OpenBLAS on every product of a step, then the low-precision products on squares and on the same shapes: \
      8-bit codes with a scale for each row and column (packing of both operands included, as oneDNN's s8s8s32 packs \
      its own) and with scales for blocks of 32, and bf16 (operands packed before), each beside oneDNN's product of the \
      same kind if libdnnl.so.2 is installed. All take turns; a ratio is the median over turns, above 1 where ours is \
      faster.
      """)

  @Option(help: "Model shape: \(BenchModel.allCases.map(\.rawValue).joined(separator: ", ")).")
  var config = BenchModel.stories15m
  @Option(help: "Sequences; the configuration's without.")
  var batch: Int?
  @Option(help: "Tokens a sequence; the configuration's without.")
  var context: Int?
  @Option(help: "Seconds for each product.")
  var seconds = 0.5
  @Option(name: .customLong("shape"), help: "Low-precision products of these shapes only, each as MxNxK.")
  var shapes: [Shape] = []
  @Flag(help: "The low-precision products only.")
  var lowPrecision = false
  @OptionGroup var report: ReportOptions

  /// m, n, k of C (m x n) = A (m x k) · Bᵀ.
  struct Shape: ExpressibleByArgument, Hashable {
    let m: Int, n: Int, k: Int

    init(_ m: Int, _ n: Int, _ k: Int) { (self.m, self.n, self.k) = (m, n, k) }

    init?(argument: String) {
      let sizes = argument.split(separator: "x").compactMap { Int($0) }
      guard sizes.count == 3, sizes.allSatisfy({ $0 > 0 }) else { return nil }
      self.init(sizes[0], sizes[1], sizes[2])
    }
  }

  func run() throws {
    let context = context ?? config.context, batch = batch ?? config.batch
    let model = try config.configuration(context: context)
    let products = MatrixProduct.ofStep(model, tokens: batch * context)
    if !lowPrecision && shapes.isEmpty { fp32(products, "\(config.rawValue), \(batch) x \(context) tokens") }
    var seen: Set<Shape> = []
    let squares = [512, 1024, 2048].map { Shape($0, $0, $0) }
    let all = shapes.isEmpty ? squares + products.map { Shape($0.shape.m, $0.shape.n, $0.shape.k) } : shapes
    lowPrecision(all.filter { seen.insert($0).inserted })
  }

  private func fp32(_ products: [MatrixProduct], _ step: String) {
    var table = Table(["product", "kind", "m", "n", "k", "a step", "GFLOP/s", "best", "spread", "ms a step"])
    var total = 0.0, operations = 0.0
    for product in products {
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
    report.table("Products of a step of \(step); rates from processor time", table)
  }

  private func lowPrecision(_ shapes: [Shape]) {
    typealias Kind = ProductContest.Kind
    let ratios: [(String, of: Kind, to: Kind)] = [
      ("int8/dnnl", .int8, .dnnlInt8), ("block/dnnl", .block, .dnnlInt8), ("bf16/dnnl", .bf16, .dnnlBF16),
      ("fp32/dnnl", .fp32, .dnnlFP32), ("block/int8", .block, .int8), ("int8/fp32", .int8, .fp32),
      ("bf16/fp32", .bf16, .fp32),
    ]
    var table = Table(["m x n x k"] + Kind.allCases.map(\.rawValue) + ratios.map(\.0))
    for shape in shapes {
      let times = ProductContest(m: shape.m, n: shape.n, k: shape.k).measure(seconds: 4 * seconds)
      let operations = 2 * Double(shape.m) * Double(shape.n) * Double(shape.k)
      let rates = Kind.allCases.map { kind in times[kind].map { operations / $0.processor.median / 1e9 } }
      let compared = ratios.map { ratio -> Double? in
        guard let ours = times[ratio.of]?.processor, let other = times[ratio.to]?.processor else { return nil }
        return zip(other, ours).map { $0 / $1 }.median
      }
      report.line(
        [
          ("bench", "gemm low precision"), ("table", .string(KernelTable.current.name)), ("m", .integer(shape.m)),
          ("n", .integer(shape.n)), ("k", .integer(shape.k)),
          ("dnnl", .string(ProductContest.libraryVersion ?? "not installed")),
          ("turns", .integer(times[.int8]?.count ?? 0)),
        ] + zip(Kind.allCases, rates).map { ("gops_\($0)", $1?.json ?? .null) }
          + zip(ratios, compared).map { ($0.0, $1?.json ?? .null) })
      let name = "\(shape.m) x \(shape.n) x \(shape.k)"
      table.add([name] + rates.map { $0?.fixed(0) ?? "-" } + compared.map { $0?.fixed(2) ?? "-" })
    }
    report.table(
      "Low-precision products, table \(KernelTable.current.name), one thread, Gop/s; oneDNN "
        + (ProductContest.libraryVersion ?? "(libdnnl.so.2) is not installed"), table)
  }
}
