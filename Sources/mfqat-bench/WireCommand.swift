import ArgumentParser
import Checkpoints
import Kernels
import Tensors

/// `mfqat-bench wire`: what codecs of gradients and weights cost on one thread, and on which links they pay.
struct WireCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wire",
    abstract: "Codecs between ranks: values a second on one thread, and the link below which each one pays.",
    discussion: """
      A codec saves bits of every value and takes time for it. It pays on links slower than bits saved / (seconds of \
      pack + unpack) of one value, times the threads that share the work. Unpacking rotated codes includes the \
      rotation back. Bits are saved from fp32; those of the codec for differences of weights, groups of 2048, from \
      bf16. Half a MiB of values stays in the second cache; 64 MiB come from memory.
      """)

  @Option(name: .customLong("count"), help: "Values of a run; 131072 and 16777216 without.")
  var counts: [Int] = []
  @Option(name: .customLong("table"), help: "Kernel tables by name; all that differ on this processor without.")
  var tables: [String] = []
  @Option(help: "Measurements of each operation.")
  var turns = 9
  @OptionGroup var report: ReportOptions

  func validate() throws {
    guard counts.allSatisfy({ $0 > 0 }) else { throw ValidationError("a run has at least one value") }
  }

  func run() throws {
    // The tables for products share what they have for the wire.
    let names = tables.isEmpty ? ["avx512", "avx2", "scalar"] : tables
    let chosen = KernelTable.available.filter { names.contains($0.name) }
    guard !chosen.isEmpty else {
      throw ValidationError("this processor runs \(KernelTable.available.map(\.name).joined(separator: ", "))")
    }
    for kernels in chosen {
      for count in counts.isEmpty ? [131_072, 1 << 24] : counts { measure(kernels, count) }
    }
  }

  private func measure(_ kernels: KernelTable, _ count: Int) {
    let arena = Arena("wire")
    let padded = WireRotation.paddedCount(count)
    var run = WireRun(
      kernels: kernels, count: count, x: Tensor(rows: 1, columns: padded, in: arena),
      y: Tensor(rows: 1, columns: padded, in: arena), bytes: Tensor(rows: 1, columns: 2 * padded, in: arena))
    run.x.fillWithNoise(seed: 5)
    // A measurement is a few milliseconds; the scalar definition takes a hundred times as long.
    let isScalar = kernels.name == "scalar"
    let repeats = max(1, (isScalar ? 1 << 17 : 1 << 23) / count), turns = isScalar ? min(turns, 3) : turns
    // A core that was idle comes up slowly.
    _ = Sample.of(seconds: 0.5) {
      WireWork.all[0].pack(&run)
      WireWork.all[0].unpack(&run)
    }
    var table = Table(["codec", "bits", "pack G/s", "unpack G/s", "of memcpy", "pays below Gbit/s"])
    for work in WireWork.all {
      var pack = Sample(), unpack = Sample(), copy = Sample()
      for turn in 0...turns {
        let times = (
          Sample.one { for _ in 0..<repeats { run.copy() } }, Sample.one { for _ in 0..<repeats { work.pack(&run) } },
          Sample.one { for _ in 0..<repeats { work.unpack(&run) } }
        )
        guard turn > 0 else { continue }
        copy.add(times.0)
        pack.add(times.1)
        unpack.add(times.2)
      }
      let values = Double(count * repeats)
      let packed = values / pack.processor.median / 1e9, unpacked = values / unpack.processor.median / 1e9
      let share = zip(copy.processor, pack.processor).map { $0 / $1 }.median
      let link = (work.plainBits - work.bits) / (1 / packed + 1 / unpacked)
      report.line([
        ("bench", "wire"), ("table", .string(kernels.name)), ("codec", .string(work.name)), ("values", .integer(count)),
        ("bits", work.bits.json), ("plain_bits", work.plainBits.json), ("pack_gigavalues_per_second", packed.json),
        ("unpack_gigavalues_per_second", unpacked.json), ("pack_of_memcpy", share.json),
        ("pays_below_gigabits_per_second", link.json), ("spread", pack.processor.spread.json),
        ("measurements", .integer(turns)),
      ])
      table.add([
        work.name, work.bits.fixed(3), packed.fixed(2), unpacked.fixed(2), (100 * share).fixed(0) + " %",
        link > 0 ? link.fixed(1) : "-",
      ])
    }
    report.table("The wire, table \(kernels.name), \(count) values, one thread", table)
  }
}

/// Memory for one run: values, what becomes of them, and the payload.
private struct WireRun: ~Copyable {
  let kernels: KernelTable
  let count: Int
  var x: Tensor
  var y: Tensor
  var bytes: Tensor

  mutating func copy() { y.copy(from: x) }
}

/// One codec that is measured.
private struct WireWork {
  enum Kind {
    case codes(WireCodec, rotated: Bool, stochastic: Bool)
    case bfloat16
    case byteDifference
  }

  let kind: Kind

  static let all: [WireWork] =
    [WireCodec(bits: .four, group: 128), WireCodec(bits: .eight, group: 128)].flatMap { codec in
      [(true, false), (true, true), (false, false), (false, true)].map { rotated, stochastic in
        WireWork(kind: .codes(codec, rotated: rotated, stochastic: stochastic))
      }
    } + [false, true].map {
      WireWork(kind: .codes(WireCodec(bits: .four, group: 2048), rotated: false, stochastic: $0))
    } + [WireWork(kind: .bfloat16), WireWork(kind: .byteDifference)]

  var name: String {
    switch kind {
    case .codes(let codec, let rotated, let stochastic):
      let what = codec.group == 2048 ? "weight differences" : "gradients"
      let rounding = stochastic ? "stochastic" : "nearest"
      return "\(what) \(codec.bits.rawValue) bit, \(rotated ? "Hadamard, " : "")\(rounding)"
    case .bfloat16: return "bf16"
    case .byteDifference: return "byte differences"
    }
  }

  var bits: Double {
    switch kind {
    case .codes(let codec, _, _): codec.effectiveBits
    case .bfloat16: 16
    case .byteDifference: 8
    }
  }

  /// Of a value that is sent as it is. Differences of bytes save nothing until they are compressed.
  var plainBits: Double {
    switch kind {
    case .codes(let codec, _, _): codec.group == 2048 ? 16 : 32
    case .bfloat16: 32
    case .byteDifference: 8
    }
  }

  func pack(_ run: inout WireRun) {
    let count = run.count, kernels = run.kernels
    let bytes = unsafe UnsafeMutableRawPointer(run.bytes.unsafeMutableAddress())
    switch kind {
    case .codes(let codec, let rotated, let stochastic):
      unsafe codec.pack(
        run.x.unsafeAddress(), count: count, to: bytes, rotated: rotated,
        rounding: stochastic ? .stochastic(CounterRandom(seed: 1), first: 0) : .nearest, on: kernels)
    case .bfloat16:
      unsafe BrainFloat.round(
        run.x.unsafeAddress(), count: count, into: bytes.assumingMemoryBound(to: UInt16.self), on: kernels)
    case .byteDifference:
      let source = unsafe UnsafeRawPointer(run.x.unsafeAddress()).assumingMemoryBound(to: UInt8.self)
      unsafe ByteDifference.subtract(
        source, source + count, count: count, into: bytes.assumingMemoryBound(to: UInt8.self), on: kernels)
    }
  }

  func unpack(_ run: inout WireRun) {
    let count = run.count, kernels = run.kernels
    let bytes = unsafe UnsafeRawPointer(run.bytes.unsafeAddress()), y = unsafe run.y.unsafeMutableAddress()
    switch kind {
    case .codes(let codec, let rotated, _):
      unsafe codec.unpack(bytes, count: count, into: y, on: kernels)
      if rotated { unsafe WireRotation.unrotate(y, count: count, into: y, on: kernels) }
    case .bfloat16:
      unsafe BrainFloat.widen(bytes.assumingMemoryBound(to: UInt16.self), count: count, into: y, on: kernels)
    case .byteDifference:
      let sum = unsafe UnsafeMutableRawPointer(y).assumingMemoryBound(to: UInt8.self)
      unsafe ByteDifference.add(bytes.assumingMemoryBound(to: UInt8.self), count: count, to: sum, on: kernels)
    }
  }
}
