import ArgumentParser
import Checkpoints
import Formats
import Kernels
import Tensors

/// `mfqat-bench quantize`: the block codec beside `memcpy` over the same fp32 bytes.
struct QuantizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quantize",
    abstract: "Block codec: fp32 bytes a second, and as a share of memcpy over the same bytes.",
    discussion: """
      Each operation and memcpy are timed in turns, so that both meet the same neighbours; the ratio is the median over \
      turns of memcpy's processor time over the operation's. Slices are counted by the fp32 bytes that their codes stand \
      for.
      """)

  @Option(help: "Rows of the matrix.")
  var rows = 4096
  @Option(help: "Columns of the matrix.")
  var columns = 4096
  @Option(name: .customLong("format"), help: "Formats by name; all without.")
  var names: [String] = []
  @Option(name: .customLong("table"), help: "Kernel tables by name; all of this processor without.")
  var tables: [String] = []
  @Option(help: "Turns of each operation.")
  var turns = 9
  @OptionGroup var report: ReportOptions

  func run() throws {
    let formats = names.isEmpty ? MXFormat.all : try names.map { try MXFormat(named: $0) }
    let chosen = KernelTable.available.filter { tables.isEmpty || tables.contains($0.name) }
    guard !chosen.isEmpty else {
      throw ValidationError("this processor runs \(KernelTable.available.map(\.name).joined(separator: ", "))")
    }
    let arena = Arena("codec")
    var x = Tensor(rows: rows, columns: columns, in: arena), y = Tensor(rows: rows, columns: columns, in: arena)
    x.fillWithNoise(seed: 5)
    y.copy(from: x)
    let bytes = Double(4 * x.count)
    for kernels in chosen {
      var table = Table(["operation", "GB/s", "best", "of memcpy", "spread"])
      // The scalar definition takes a hundred times as long; a few turns tell all there is.
      let turns = kernels.name == "scalar" ? min(turns, 3) : turns
      func measure(_ name: String, _ format: MXFormat, _ work: () -> Void) {
        let pair = inTurns(turns, &y, x, work)
        let rate = bytes / pair.operation.processor.median / 1e9, best = bytes / pair.operation.wall.least / 1e9
        report.line([
          ("bench", "quantize"), ("table", .string(kernels.name)), ("operation", .string(name)),
          ("format", .string(format.name)), ("rows", .integer(rows)), ("columns", .integer(columns)),
          ("gigabytes_per_second", rate.json), ("best", best.json), ("of_memcpy", pair.ratio.json),
          ("seconds_median", pair.operation.processor.median.json), ("seconds_min", pair.operation.wall.least.json),
          ("spread", pair.operation.processor.spread.json),
          ("memcpy_gigabytes_per_second", (bytes / pair.copy.processor.median / 1e9).json),
          ("measurements", .integer(turns)),
        ])
        table.add([
          "\(name) \(format.name)", rate.fixed(2), best.fixed(2), (100 * pair.ratio).fixed(0) + " %",
          (100 * pair.operation.processor.spread).fixed(0) + " %",
        ])
      }

      var z = Tensor(rows: rows, columns: columns, in: arena)
      for format in formats {
        var packed = PackedTensor(format, rows: rows, columns: columns, in: arena)
        measure("quantize", format) { BlockCodec.quantize(&packed, from: x, on: kernels) }
        measure("dequantize", format) { BlockCodec.dequantize(&z, from: packed, on: kernels) }
        measure("round trip", format) { BlockCodec.roundTrip(&z, of: x, format: format, on: kernels) }
        measure("clip", format) { BlockCodec.clipGradient(&z, at: x, format: format, on: kernels) }
      }
      for anchor in formats where anchor.isAnchor {
        var packed = PackedTensor(anchor, rows: rows, columns: columns, in: arena)
        BlockCodec.quantize(&packed, from: x, on: kernels)
        for format in SlicePlan.formatsCut(from: anchor) where format != anchor && formats.contains(format) {
          let slice = CompiledSlice(try SlicePlan(from: anchor, to: format))
          var cut = PackedTensor(format, rows: rows, columns: columns, in: arena)
          measure("slice \(anchor.name) to", format) { BlockCodec.slice(&cut, from: packed, with: slice, on: kernels) }
        }
      }
      report.table("Block codec, table \(kernels.name), \(rows) x \(columns); rates over fp32 bytes", table)
    }
  }

  private func inTurns(
    _ turns: Int, _ target: inout Tensor, _ source: borrowing Tensor, _ work: () -> Void
  ) -> (operation: Sample, copy: Sample, ratio: Double) {
    work()
    var operation = Sample(), copy = Sample()
    for _ in 0..<max(turns, 1) {
      copy.measure { target.copy(from: source) }
      operation.measure(work)
    }
    return (operation, copy, zip(copy.processor, operation.processor).map { $0 / $1 }.median)
  }
}
