import Checkpoints
import CKernels
import Formats
import Kernels
import Quantization
import Tensors
import Transformer

/// Where the time of a step goes: every part run alone on the shapes of the step, times how often the step does it.
///
/// The step itself is not instrumented, so nothing in it pays for being observed; in exchange a part finds the caches as
/// it left them itself. The line `unaccounted` is what the measured step takes beyond the sum of its parts.
struct StepProfile {
  struct Part {
    let group: String, name: String
    /// Calls in a step.
    let count: Int
    /// Operations of a call; 0 where bytes are what matters.
    let operations: Double
    /// Median processor time of a call.
    let secondsPerCall: Double
    var seconds: Double { Double(count) * secondsPerCall }
  }

  private var parts: [Part] = []
  private let command: StepCommand
  let objective: MeasuredObjective
  let measured: StepMeasurement
  static let secondsPerPart = 0.25

  init(_ command: StepCommand, _ objective: MeasuredObjective, measured: StepMeasurement) throws {
    self.command = command
    self.objective = objective
    self.measured = measured
    let context = command.context ?? command.config.context, batch = command.batch ?? command.config.batch
    let model = try command.config.configuration(context: context)
    let tokens = batch * context
    measureProducts(model, tokens: tokens)
    measureAttention(model, sequences: batch, length: context)
    measureRows(model, tokens: tokens, length: context)
    measureState(model)
    measureCodec(model)
  }

  private mutating func add(
    _ group: String, _ name: String, count: Int, operations: Double = 0, _ work: () -> Void
  ) {
    let sample = Sample.of(seconds: Self.secondsPerPart, work)
    add(group, name, count: count, operations: operations, seconds: sample.processor.median)
  }

  mutating func add(_ group: String, _ name: String, count: Int, operations: Double = 0, seconds: Double) {
    parts.append(Part(group: group, name: name, count: count, operations: operations, secondsPerCall: seconds))
  }

  private mutating func measureAttention(_ c: ModelConfiguration, sequences: Int, length: Int) {
    let arena = Arena("attention"), T = sequences * length
    let attention = Attention(
      sequences: sequences, length: length, queryHeads: c.queryHeads, keyHeads: c.keyHeads, headDimension: c.headDimension)
    let columns = Attention.Columns(query: 0, key: c.queryWidth, value: c.queryWidth + c.keyWidth)
    var qkv = Tensor(rows: T, columns: c.queryKeyValueWidth, in: arena)
    var dqkv = Tensor(rows: T, columns: c.queryKeyValueWidth, in: arena)
    var y = Tensor(rows: T, columns: c.queryWidth, in: arena), dy = Tensor(rows: T, columns: c.queryWidth, in: arena)
    var lse = Tensor(rows: T, columns: c.queryHeads, in: arena), delta = Tensor(rows: T, columns: c.queryHeads, in: arena)
    var tile = Tensor(rows: attention.scratchRows, columns: attention.scratchColumns, in: arena)
    qkv.fillWithNoise(seed: 7)
    dy.fillWithNoise(seed: 8)
    // Two products forward and five backward over the causal half.
    let product = Double(sequences * c.queryHeads) * Double(length * length) * Double(c.headDimension)
    add("attention", "attention, forward", count: c.layerCount, operations: 2 * product) {
      attention.forward(&y, lse: &lse, queryKey: qkv, values: qkv, columns: columns, scratch: &tile)
    }
    add("attention", "attention, backward", count: c.layerCount, operations: 5 * product) {
      attention.backward(
        &dqkv, columns: columns, from: dy, y: y, lse: lse, queryKeyValue: qkv, delta: &delta, scratch: &tile)
    }
    var cosines = Tensor(rows: length, columns: c.headDimension / 2, in: arena)
    var sines = Tensor(rows: length, columns: c.headDimension / 2, in: arena)
    cosines.fillWithNoise(seed: 9)
    sines.fillWithNoise(seed: 10)
    add("rope", "rotation of queries and keys", count: 2 * c.layerCount) {
      RotaryEmbedding.apply(
        &dqkv, column: 0, heads: c.queryHeads + c.keyHeads, cosines: cosines, sines: sines, period: length,
        direction: .forward)
    }
  }

  private mutating func measureRows(_ c: ModelConfiguration, tokens T: Int, length: Int) {
    let arena = Arena("rows"), D = c.hiddenSize, F = c.feedForwardSize
    var x = Tensor(rows: T, columns: D, in: arena), y = Tensor(rows: T, columns: D, in: arena)
    var gain = Tensor(rows: 1, columns: D, in: arena), dGain = Tensor(rows: 1, columns: D, in: arena)
    var rstd = Tensor(rows: 1, columns: T, in: arena)
    x.fillWithNoise(seed: 11)
    gain.fillWithNoise(seed: 12)
    add("norms", "norm, forward", count: 2 * c.layerCount + 1) {
      RMSNorm.forward(&y, rstd: &rstd, of: x, gain: gain, epsilon: c.normEpsilon)
    }
    var dx = Tensor(rows: T, columns: D, in: arena)
    add("norms", "norm, backward", count: 2 * c.layerCount + 1) {
      RMSNorm.backward(dx: &dx, dGain: &dGain, from: y, input: x, gain: gain, rstd: rstd)
    }
    add("copies", "residual copies", count: 2 * c.layerCount) { y.copy(from: x) }

    var gateUp = Tensor(rows: T, columns: 2 * F, in: arena), dGateUp = Tensor(rows: T, columns: 2 * F, in: arena)
    var gated = Tensor(rows: T, columns: F, in: arena)
    gateUp.fillWithNoise(seed: 13)
    add("swiglu", "swiglu, forward", count: c.layerCount) { SwiGLU.forward(&gated, of: gateUp) }
    add("swiglu", "swiglu, backward", count: c.layerCount) { SwiGLU.backward(&dGateUp, from: gated, input: gateUp) }

    let V = c.vocabularySize, chunk = LanguageHead(tokens: T, vocabulary: V).chunk
    var logits = Tensor(rows: chunk, columns: V, in: arena)
    var targets = HostBuffer<Int32>(count: chunk, in: arena), loss = HostBuffer<Double>(count: chunk, in: arena)
    for t in 0..<chunk { targets[t] = Int32(t % V) }
    logits.fillWithNoise(seed: 14)
    add("cross entropy", "cross entropy", count: (T + chunk - 1) / chunk) {
      unsafe KernelTable.current.operations.cross_entropy(
        Int64(chunk), Int64(V), logits.unsafeMutableAddress(), targets.unsafeAddress(), 1, true,
        loss.unsafeMutableAddress())
    }
    var ids = HostBuffer<Int32>(count: T, in: arena)
    for t in 0..<T { ids[t] = Int32(t * 7919 % V) }
    var table = Tensor(rows: V, columns: D, in: arena)
    add("embedding", "embedding, forward", count: 1) { Embedding.forward(&y, of: ids, table: table) }
    add("embedding", "embedding, backward", count: 1) {
      Embedding.backward(&table, from: y, ids: ids, output: c.tiedHead ? .accumulate : .overwrite)
    }
  }

  private mutating func measureState(_ c: ModelConfiguration) {
    let arena = Arena("state"), n = ParameterLayout(c).elementCount
    var master = Tensor(rows: 1, columns: n, in: arena), m = Tensor(rows: 1, columns: n, in: arena)
    var v = Tensor(rows: 1, columns: n, in: arena), gradient = Tensor(rows: 1, columns: n, in: arena)
    var sums = HostBuffer<Double>(count: n / c.hiddenSize, in: arena)
    gradient.fillWithNoise(seed: 15)
    let optimizer = AdamW(
      learningRate: 1e-4, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, step: 1, gradientScale: 1)
    add("AdamW", "AdamW", count: 1) {
      optimizer.update(master: &master, m: &m, v: &v, gradient: gradient, range: 0..<n, decays: true)
    }
    add("sums of squares", "gradient norm", count: 1) {
      GradientNorm.rowSums(of: gradient, at: 0, rows: sums.count, columns: c.hiddenSize, into: &sums, at: 0)
    }
    add("copies", "gradients to their sum", count: 1) { master.copy(from: gradient) }
    // What has no codes is gathered as fp32.
    let dense = objective.formats.isEmpty ? n : n - Self.quantizedCount(c)
    var weights = Tensor(rows: 1, columns: dense, in: arena)
    add("weights in their format", "gather fp32 weights", count: 1) {
      weights.copy(from: master.region(0, rows: 1, columns: dense))
    }
  }

  private mutating func measureCodec(_ c: ModelConfiguration) {
    guard let format = objective.formats.first else { return }
    let arena = Arena("weights"), D = c.hiddenSize
    let n = Self.quantizedCount(c)
    let anchor = command.path == "direct" ? format : format.family.anchor
    var x = Tensor(rows: n / D, columns: D, in: arena), y = Tensor(rows: n / D, columns: D, in: arena)
    var codes = PackedTensor(anchor, rows: n / D, columns: D, in: arena)
    var cut = PackedTensor(format, rows: n / D, columns: D, in: arena)
    x.fillWithNoise(seed: 16)
    add("weights in their format", "encode masters in \(anchor)", count: 1) { BlockCodec.quantize(&codes, from: x) }
    if anchor != format, let plan = try? SlicePlan(from: anchor, to: format) {
      let slice = CompiledSlice(plan)
      add("weights in their format", "slice to \(format)", count: 1) {
        BlockCodec.slice(&cut, from: codes, with: slice)
      }
      add("weights in their format", "decode \(format)", count: 1) { BlockCodec.dequantize(&y, from: cut) }
    } else {
      add("weights in their format", "decode \(anchor)", count: 1) { BlockCodec.dequantize(&y, from: codes) }
    }
  }

  private static func quantizedCount(_ c: ModelConfiguration) -> Int {
    ParameterLayout(c).all.filter { $0.spec.role == .linear }.reduce(0) { $0 + $1.spec.count }
  }

  func print(_ report: ReportOptions) {
    let step = measured.times.processor.median, sum = parts.reduce(0) { $0 + $1.seconds }
    var groups: [(name: String, seconds: Double)] = []
    for part in parts {
      if let index = groups.firstIndex(where: { $0.name == part.group }) {
        groups[index].seconds += part.seconds
      } else {
        groups.append((part.group, part.seconds))
      }
    }
    groups.sort { $0.seconds > $1.seconds }
    groups.append(("unaccounted", step - sum))
    var table = Table(["part", "a step", "ms a step", "share", "Gop/s"])
    for part in parts.sorted(by: { $0.seconds > $1.seconds }) {
      let rate = part.operations > 0 ? part.operations / part.secondsPerCall / 1e9 : nil
      report.line([
        ("bench", "step_profile"), ("config", .string(command.config.rawValue)), ("objective", .string(objective.name)),
        ("part", .string(part.name)), ("group", .string(part.group)), ("calls", .integer(part.count)),
        ("seconds", part.seconds.json), ("share", (part.seconds / step).json), ("gflops", rate.map(\.json) ?? .null),
      ])
      table.add([
        part.name, "\(part.count)", (1000 * part.seconds).fixed(1), (100 * part.seconds / step).fixed(1) + " %",
        rate?.fixed(1) ?? "",
      ])
    }
    var shares = Table(["group", "ms a step", "share"])
    for group in groups {
      report.line([
        ("bench", "step_profile"), ("config", .string(command.config.rawValue)), ("objective", .string(objective.name)),
        ("group", .string(group.name)), ("seconds", group.seconds.json), ("share", (group.seconds / step).json),
      ])
      shares.add([group.name, (1000 * group.seconds).fixed(1), (100 * group.seconds / step).fixed(1) + " %"])
    }
    report.text(
      "Parts of the step, each run alone; shares of the step's median processor time, \((1000 * step).fixed(1)) ms\n\n"
        + shares.text + "\n" + table.text)
  }
}
