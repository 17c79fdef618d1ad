import ArgumentParser
import Checkpoints
import Kernels
import Tensors
import Transformer

/// `mfqat-bench moments`: what calibration's statistics cost beside the forward pass that they are taken in.
struct MomentsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "moments", abstract: "The pass that takes second moments of every input, beside a plain forward pass.",
    discussion: """
      One sequence goes through all layers of a model, stage by stage, as in calibration: once plainly, once with xᵀx of the \
      four inputs of every layer taken and added up in integers. Embedding, final norm and loss are in both, as in `mfqat \
      evaluate`. The ratio is the median over turns.
      """)

  @Option(help: "Model folder.")
  var model: String
  @Option(help: "Tokens of the sequence.")
  var context = 512
  @Option(help: "Threads.")
  var threads = 1
  @Option(help: "Turns.")
  var turns = 15
  @Option(help: "Products of the moments: fp32, or bf16 with fp32 sums; without, as calibration chooses.")
  var products = Products(rawValue: MomentProduct.roundsInputs ? "bf16" : "fp32")!

  enum Products: String, ExpressibleByArgument {
    case fp32, bf16
    var rounds: Bool { self == .bf16 }
  }

  @OptionGroup var report: ReportOptions

  func run() throws {
    ThreadTeam.configure(threads: threads)
    let source = try ModelSources.open(model), c = source.configuration, arena = Arena("moments")
    let parameters = Parameters(c, in: arena)
    try source.load(into: parameters)
    let space = try Workspace(c, sequences: 1, length: context, purpose: .inference, in: arena)
    for t in 0..<context {
      space.ids[t] = Int32(t * 7919 % c.vocabularySize)
      space.targets[t] = t + 1 < context ? Int32((t + 1) * 7919 % c.vocabularySize) : -1
    }
    let pass = LayerPass(parameters, space)
    let moments = [c.hiddenSize, c.queryWidth, c.hiddenSize, c.feedForwardSize]
      .map { Moments($0, tokens: context, rounds: products.rounds, in: arena) }
    func forward(_ take: (Int, borrowing Tensor) -> Void) {
      pass.embed()
      for layer in 0..<c.layerCount {
        let a = pass.activations(of: layer)
        pass.attentionInput(layer: layer)
        take(0, a.normed)
        pass.attend(layer: layer)
        take(1, a.outputInput)
        pass.addAttention(layer: layer)
        pass.gateUpInput(layer: layer)
        take(2, a.middleNormed)
        pass.gate(layer: layer)
        take(3, a.gated)
        pass.addFeedForward(layer: layer)
      }
      pass.loss()
    }
    var plain = Sample(), measured = Sample()
    for turn in 0...turns {
      let first = Sample.one { forward { _, _ in } }
      let second = Sample.one { forward { moments[$0].add($1) } }
      guard turn > 0 else { continue }
      plain.add(first)
      measured.add(second)
    }
    let ratio = zip(measured.processor, plain.processor).map { $0 / $1 }.median
    report.line([
      ("bench", "moments"), ("model", .string(model)), ("context", .integer(context)), ("threads", .integer(threads)),
      ("products", .string(products.rawValue)),
      ("plain_seconds", plain.processor.median.json), ("measured_seconds", measured.processor.median.json),
      ("ratio", ratio.json), ("measurements", .integer(turns)),
    ])
    var table = Table(["pass", "processor ms", "of plain"])
    table.add(["plain forward", (plain.processor.median * 1e3).fixed(1), "1.00"])
    table.add(["with moments", (measured.processor.median * 1e3).fixed(1), ratio.fixed(2)])
    report.table("second moments of every input: \(model), \(context) tokens, \(threads) threads, \(products.rawValue)", table)
  }

  /// The sums of one input.
  private final class Moments {
    private let product: MomentProduct
    private var values: Tensor
    private var sums: HostBuffer<Int64>
    private var scales: HostBuffer<Double>

    init(_ columns: Int, tokens: Int, rounds: Bool, in arena: Arena) {
      product = MomentProduct(tokens: tokens, columns: columns, rounds: rounds, in: arena)
      values = Tensor(rows: columns, columns: columns, in: arena)
      sums = HostBuffer(count: columns * columns, in: arena)
      scales = HostBuffer(count: columns, in: arena)
      for i in 0..<columns { scales[i] = 1 }
    }

    func add(_ x: borrowing Tensor) {
      product.compute(&values, of: x)
      _ = SecondMoments.accumulate(&sums, moments: values, scales: scales)
    }
  }
}
