import ArgumentParser
import CKernels
import Checkpoints
import Formats
import Kernels
import Tensors

/// `mfqat-bench hadamard`: the passes that make operands of low-precision products, beside `memcpy`.
struct HadamardCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hadamard",
    abstract: "Rotation, quantization and packing of product operands: nanoseconds an element, and a share of memcpy.",
    discussion: """
      Every operation reads one fp32 matrix; rows or columns are the vectors that are contracted. It and memcpy of \
      that matrix are timed in turns; the share is the median over turns of memcpy's processor time over the operation's.
      """)

  @Option(help: "Rows of the matrix.")
  var rows = 2048
  @Option(name: .customLong("columns"), help: "Columns of the matrix; 288, 768, 1024 and 2752 without.")
  var columns: [Int] = []
  @Option(name: .customLong("block"), help: "Rotation blocks; 0, 16, 32, 64 and 128 without. 0 is no rotation.")
  var blocks: [Int] = []
  @Option(name: .customLong("table"), help: "Kernel tables by name; the best of this processor without.")
  var tables: [String] = []
  @Option(help: "Turns of each operation.")
  var turns = 15
  @OptionGroup var report: ReportOptions

  func run() throws {
    let names = tables.isEmpty ? [KernelTable.current.name] : tables
    let chosen = KernelTable.available.filter { names.contains($0.name) }
    guard chosen.count == names.count else {
      throw ValidationError("this processor runs \(KernelTable.available.map(\.name).joined(separator: ", "))")
    }
    let blocks = blocks.isEmpty ? [0, 16, 32, 64, 128] : blocks
    guard blocks.allSatisfy([0, 16, 32, 64, 128].contains) else {
      throw ValidationError("blocks are 0, 16, 32, 64, 128")
    }
    for kernels in chosen {
      for columns in columns.isEmpty ? [288, 768, 1024, 2752] : columns { measure(kernels, columns, blocks) }
    }
  }

  private func measure(_ kernels: KernelTable, _ columns: Int, _ blocks: [Int]) {
    let arena = Arena("hadamard")
    var x = Tensor(rows: rows, columns: columns, in: arena), y = Tensor(rows: rows, columns: columns, in: arena)
    x.fillWithNoise(seed: 5)
    y.copy(from: x)
    let panels = kernels.panels
    var operand = PackedOperand(rows: rows, columns: columns, in: arena)
    var table = Table(["operation", "rows ns", "of memcpy", "columns ns", "of memcpy"])
    for work in PanelWork.all(blocks: blocks) {
      var cells = [work.name]
      for alongRows in [true, false] {
        guard work.rotates(rows: rows, columns: columns, alongRows: alongRows) else {
          cells += ["-", "-"]
          continue
        }
        let signs = (0..<UInt32(max(rows, columns))).map { ($0 &* 0x9E37_79B9) & 0x8000_0000 }
        var operation = Sample(), copy = Sample()
        for turn in 0...turns {
          let copied = Sample.one { y.copy(from: x) }
          let worked = Sample.one { work.run(panels, x, &y, &operand, signs, alongRows) }
          guard turn > 0 else { continue }
          copy.add(copied)
          operation.add(worked)
        }
        let nanoseconds = operation.processor.median * 1e9 / Double(x.count)
        let share = zip(copy.processor, operation.processor).map { $0 / $1 }.median
        report.line([
          ("bench", "hadamard"), ("table", .string(kernels.name)), ("operation", .string(work.operation.rawValue)),
          ("axis", alongRows ? "rows" : "columns"), ("block", .integer(work.block)), ("rows", .integer(rows)),
          ("columns", .integer(columns)), ("nanoseconds_per_element", nanoseconds.json), ("of_memcpy", share.json),
          ("seconds_median", operation.processor.median.json), ("seconds_min", operation.wall.least.json),
          ("spread", operation.processor.spread.json), ("measurements", .integer(turns)),
        ])
        cells += [nanoseconds.fixed(3), (100 * share).fixed(0) + " %"]
      }
      table.add(cells)
    }
    report.table("Operands of products, table \(kernels.name), \(rows) x \(columns); ns an element", table)
  }
}

/// Memory for a packed operand of either axis, larger than any of them needs.
private struct PackedOperand: ~Copyable {
  var codes: Tensor
  var sums: Tensor
  var scales: Tensor

  init(rows: Int, columns: Int, in arena: Arena) {
    // Both lengths padded to the longest rotation block; bf16 takes two bytes an element, half a float.
    let rows = (rows + 127) / 128 * 128, columns = (columns + 127) / 128 * 128
    codes = Tensor(rows: rows / 2, columns: columns, in: arena)
    sums = Tensor(rows: rows / 16, columns: columns, in: arena)
    scales = Tensor(rows: rows / 16, columns: columns, in: arena)
  }
}

/// One thing that is measured.
private struct PanelWork {
  enum Operation: String {
    case rotate
    case quantize = "quantize int8"
    case stochastic = "quantize int8 stochastic"
    case mxint8 = "quantize mxint8"
    case mxfp4 = "quantize mxfp4"
    case mxfp4Stochastic = "quantize mxfp4 stochastic"
    case bf16 = "round bf16"
  }

  let operation: Operation
  let block: Int

  var name: String { operation == .bf16 ? operation.rawValue : "\(operation.rawValue), block \(block)" }

  static func all(blocks: [Int]) -> [PanelWork] {
    let inBlocks: [Operation] = [.rotate, .quantize, .mxint8, .mxfp4, .stochastic, .mxfp4Stochastic]
    return inBlocks.flatMap { operation in
      blocks.filter { operation != .rotate || $0 > 0 }.map { PanelWork(operation: operation, block: $0) }
    } + [PanelWork(operation: .bf16, block: 0)]
  }

  /// In place, the axis has to be a multiple of the block.
  func rotates(rows: Int, columns: Int, alongRows: Bool) -> Bool {
    operation != .rotate || (alongRows ? columns : rows) % block == 0
  }

  func run(
    _ panels: ck_panel_table, _ x: borrowing Tensor, _ y: inout Tensor, _ operand: inout PackedOperand,
    _ signs: [UInt32], _ alongRows: Bool
  ) {
    let rows = Int64(x.rows), columns = Int64(x.columns)
    let vectors = alongRows ? rows : columns, depth = alongRows ? columns : rows
    unsafe signs.withUnsafeBufferPointer { signs in
      var rotation = unsafe ck_rotation(block: Int32(block), signs: signs.baseAddress!)
      if operation == .rotate {
        let entry = unsafe alongRows ? panels.rotate_rows! : panels.rotate_columns!
        unsafe entry(&rotation, rows, columns, y.unsafeMutableAddress(), columns, false)
        return
      }
      let codes = unsafe UnsafeMutableRawPointer(operand.codes.unsafeMutableAddress())
        .assumingMemoryBound(to: UInt8.self)
      if operation == .bf16 {
        let entry = unsafe alongRows ? panels.round_rows_bf16! : panels.round_columns_bf16!
        unsafe entry(vectors, depth, x.unsafeAddress(), columns, codes)
        return
      }
      let inBlocks = operation == .mxint8 || operation == .mxfp4 || operation == .mxfp4Stochastic
      let stochastic = operation == .stochastic || operation == .mxfp4Stochastic
      var quantizer = unsafe ck_quantizer()
      unsafe quantizer.rotation = rotation
      unsafe quantizer.scaling = Int32((inBlocks ? CK_SCALE_BLOCK : CK_SCALE_VECTOR).rawValue)
      unsafe quantizer.rounding = Int32((stochastic ? CK_STOCHASTIC : CK_NEAREST).rawValue)
      unsafe quantizer.element = (operation == .mxint8 ? MXFormat.mxint8 : .mxfp4).element.ckElement
      unsafe quantizer.shrink = operation == .mxfp4Stochastic ? 0.75 : 1
      unsafe quantizer.key = (1, 2)
      let sums = unsafe UnsafeMutableRawPointer(operand.sums.unsafeMutableAddress()).assumingMemoryBound(to: Int32.self)
      var out = unsafe ck_panels(
        codes: codes, sums: sums, scales: operand.scales.unsafeMutableAddress(), scaling: quantizer.scaling)
      let entry = unsafe alongRows ? panels.quantize_rows! : panels.quantize_columns!
      unsafe entry(&quantizer, CK_LEFT, vectors, depth, x.unsafeAddress(), columns, &out)
    }
  }
}
