import ArgumentParser
import Checkpoints
import Formats
import Kernels
import Quantization
import Transformer

/// `mfqat-bench linear`: one linear layer, fp32 in and fp32 out, in every arithmetic.
struct LinearCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "linear",
    abstract: "A linear layer's forward and both gradients in low precision, beside fp32.",
    discussion: """
      All arithmetics take turns; times are medians of processor time over turns, the speed-up is the median over turns \
      of fp32's whole pass over the arithmetic's. A whole pass is F (forward), E (input gradient), G (weight gradient) \
      and the packing of the weights, once. "packing" is the share of rotating, quantizing and packing activations and \
      gradients, "weights" that of packing the weights; "products" how many times faster than fp32 the three products \
      alone are, "an element" what packing one element costs in fp32 multiply-adds. The last two are the constants of \
      the cost model, whose own answer is "predicted".
      """)

  @Option(name: .customLong("shape"), help: "Tokens x inputs x outputs, as TxKxN. May be repeated.")
  var shapes: [LayerShape] = []
  @Option(
    name: .customLong("arithmetic"),
    help: "Weight's formats @ forward/backward/weight gradient : policy, e.g. mxint4@mx/int8:none. May be repeated.")
  var arithmetics: [String] = []
  @Option(help: "Block of the rotations.")
  var rotation = 64
  @Flag(help: "Round gradients stochastically.")
  var stochastic = false
  @Option(help: "Seconds for each shape; three turns at least.")
  var seconds = 6.0
  @Option(help: "Threads.")
  var threads = 1
  @OptionGroup var report: ReportOptions

  private static let defaults = [
    "fp32@bf16/bf16", "fp32@int8/int8", "fp32@mx/mx", "mxint4@mx/int8", "fp32@int8/int8:halo2", "fp32@int8/int8:none",
  ]

  /// An arithmetic under the name it was asked for.
  struct Case {
    let name: String
    let arithmetic: LinearArithmetic
    let format: MXFormat?

    init(_ name: String, rotation: Int, stochastic: Bool) throws {
      let parts = name.split(separator: ":", maxSplits: 1)
      let objective = try MeasuredObjective.named(String(parts.first ?? ""))
      var a = LinearArithmetic()
      let precisions = objective.precisions
      a.forward = precisions.first ?? .fp32
      a.backward = precisions.dropFirst().first ?? .fp32
      a.weightGradient = precisions.dropFirst(2).first ?? a.backward
      a.rotationBlock = rotation
      a.gradientRounding = stochastic ? .stochastic : .nearest
      if let text = parts.dropFirst().first {
        guard let policy = RotationPolicy(rawValue: String(text)) else {
          let known = RotationPolicy.allCases.map(\.rawValue).joined(separator: ", ")
          throw ValidationError("unknown policy '\(text)': expected one of \(known)")
        }
        a.policy = policy
      }
      self.name = name
      arithmetic = a
      format = objective.formats.first
    }
  }

  private var cases: [Case] {
    get throws {
      try (arithmetics.isEmpty ? Self.defaults : arithmetics).map {
        try Case($0, rotation: rotation, stochastic: stochastic)
      }
    }
  }

  func validate() throws {
    guard seconds > 0, threads > 0 else { throw ValidationError("--seconds and --threads are above 0") }
    guard [16, 32, 64, 128].contains(rotation) else { throw ValidationError("--rotation is 16, 32, 64 or 128") }
    _ = try cases
  }

  func run() throws {
    ThreadTeam.configure(threads: threads)
    let all = [
      LayerShape(2048, 1024, 1024), LayerShape(1024, 4096, 4096), LayerShape(2048, 2048, 2048),
      LayerShape(2048, 768, 768), LayerShape(2048, 256, 1024),
    ]
    for shape in shapes.isEmpty ? all : shapes { measure(shape, try cases) }
  }

  private func measure(_ shape: LayerShape, _ cases: [Case]) {
    let tensors = LayerTensors(shape)
    let full = MeasuredLayer(.fullPrecision, format: nil, on: tensors)
    let layers = cases.map { MeasuredLayer($0.arithmetic, format: $0.format, on: tensors) }
    ([full] + layers).measure(seconds: seconds)

    let cost = LinearCost(table: KernelTable.current.name)
    var table = Table([
      "arithmetic", "F", "E", "G", "weights", "total ms", "speed-up", "predicted", "packing", "weights", "products",
      "an element",
    ])
    func milliseconds(_ times: LayerTimes) -> [String] {
      (LayerTimes.kinds.map { kind in times.median { times.call(kind, $0) } }
        + [times.median(times.preparation), times.median(times.total)]).map { (1000 * $0).fixed(2) }
    }
    let base = full.times
    table.add(["fp32"] + milliseconds(base) + Array(repeating: "", count: 6))
    for (item, layer) in zip(cases, layers) {
      let times = layer.times
      let speedup = times.median { base.total($0) / times.total($0) }
      let predicted = cost.speedup(
        item.arithmetic, inputs: shape.inputs, outputs: shape.outputs, tokens: shape.tokens,
        hasCodes: item.format != nil)
      let packing = times.median { times.packingTotal($0) / times.total($0) }
      let weights = times.median { times.preparation($0) / times.total($0) }
      let products = times.median { base.total($0) / times.productTotal($0) }
      let element = times.median { turn in
        (times.total(turn) - times.productTotal(turn)) / shape.packedElements
          / (base.total(turn) / (3 * shape.multiplyAdds))
      }
      report.line(
        [
          ("bench", "linear"), ("table", .string(KernelTable.current.name)), ("arithmetic", .string(item.name)),
          ("rotation", .integer(rotation)), ("stochastic", .bool(stochastic)), ("threads", .integer(threads)),
          ("tokens", .integer(shape.tokens)),
          ("inputs", .integer(shape.inputs)), ("outputs", .integer(shape.outputs)), ("turns", .integer(times.turns)),
        ]
          + zip(["F", "E", "G"], LayerTimes.kinds).flatMap { letter, kind in
            [
              ("seconds_\(letter)", times.median { times.call(kind, $0) }.json),
              ("seconds_product_\(letter)", times.median { times.product(kind, $0) }.json),
              ("seconds_fp32_\(letter)", base.median { base.call(kind, $0) }.json),
            ]
          } + [
            ("seconds_weights", times.median(times.preparation).json), ("seconds", times.median(times.total).json),
            ("seconds_fp32", base.median(base.total).json), ("speedup", speedup.json), ("predicted", predicted.json),
            ("packing_share", packing.json), ("weights_share", weights.json), ("products_speedup", products.json),
            ("multiply_adds_an_element", element.json),
          ])
      table.add(
        [item.name] + milliseconds(times) + [
          speedup.fixed(2), predicted.fixed(2), (100 * packing).fixed(0) + " %", (100 * weights).fixed(0) + " %",
          products.fixed(2), element.fixed(1),
        ])
    }
    report.table(
      "Linear layer, \(shape.text) (tokens x inputs x outputs), rotation \(rotation)"
        + "\(stochastic ? ", stochastic gradients" : ""), \(threads) thread\(threads == 1 ? "" : "s"), "
        + "\(base.turns) turns; ms", table)
  }
}

extension LayerShape: ExpressibleByArgument {
  init?(argument: String) {
    let sizes = argument.split(separator: "x").compactMap { Int($0) }
    guard sizes.count == 3, sizes.allSatisfy({ $0 > 0 }) else { return nil }
    self.init(sizes[0], sizes[1], sizes[2])
  }
}
