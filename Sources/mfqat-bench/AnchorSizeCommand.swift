import ArgumentParser
import Checkpoints
import Formats
import Foundation
import Kernels
import Tensors
import Transformer

/// `mfqat-bench anchor-size`: what anchors take on disk, against the entropy of their bytes and against another layout.
struct AnchorSizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "anchor-size",
    abstract: "Stored bytes of block formats, against the entropy of their planes and interleaved blocks.",
    discussion: """
      The bound is the order-0 entropy of each tensor's planes: the plane's size times the entropy of its bytes. The \
      other layout is one zstd stream of blocks, each block's codes with its scale behind them, at level 3. Values are \
      made up: 4096 x 1024 of each kind; of a model, all its matrices, rounded; of an anchor, what it holds.
      """)

  @Option(name: .customLong("model"), help: "Model folder to round; may be repeated.")
  var models: [String] = []
  @Option(name: .customLong("anchor"), help: "Anchor to look into; may be repeated.")
  var anchors: [String] = []
  @Option(name: .customLong("format"), help: "Formats by name; all without.")
  var names: [String] = []
  @Option(help: "Where anchors are written and removed.")
  var directory = "/tmp"
  @OptionGroup var report: ReportOptions

  private static let rows = 4096, columns = 1024

  func run() throws {
    let formats = names.isEmpty ? MXFormat.all : try names.map { try MXFormat(named: $0) }
    var table = Table(["values", "format", "bits/weight", "stored bits", "above entropy", "of interleaved"])
    let arena = Arena("anchor size")
    if models.isEmpty && anchors.isEmpty {
      for values in SyntheticValues.allCases {
        var x = Tensor(rows: Self.rows, columns: Self.columns, in: arena)
        do {
          var span = x.mutableSpan
          values.fill(&span, columns: Self.columns, seed: 11)
        }
        for format in formats {
          try add(values.rawValue, format, to: &table) { writer in
            try Self.pack("weight", x, format, Arena("codes"), writer)
          }
        }
      }
    }
    for path in models {
      let source = try ModelSources.open(path)
      let name = String(path.split(separator: "/").last ?? "")
      for format in formats {
        try add(name, format, to: &table) { writer in
          for (_, spec) in ParameterLayout(source.configuration).all where spec.shape.count == 2 {
            let arena = Arena("rows")
            var x = Tensor(rows: spec.rows, columns: spec.columns, in: arena)
            do {
              var span = x.mutableSpan
              try source.read(spec, rows: 0..<spec.rows, into: &span)
            }
            try Self.pack(spec.name, x, format, arena, writer)
          }
        }
      }
    }
    for path in anchors {
      let container = try TensorContainer(path)
      let packed = container.tensors.filter { !$0.isDense }
      for format in Set(packed.map(\.format)).sorted() {
        try add(container, packed.filter { $0.format == format }, path, format, &table)
      }
    }
    report.table("Anchors on disk, codes and scales", table)
  }

  private static func pack(
    _ name: String, _ x: borrowing Tensor, _ format: MXFormat, _ arena: Arena, _ writer: ContainerWriter
  ) throws {
    var packed = PackedTensor(format, rows: x.rows, columns: x.columns, in: arena)
    BlockCodec.quantize(&packed, from: x, on: .current)
    try writer.addPacked(name: name, shape: [x.rows, x.columns], packed)
  }

  /// Writes an anchor, measures it, removes it.
  private func add(
    _ values: String, _ format: MXFormat, to table: inout Table, _ contents: (ContainerWriter) throws -> Void
  ) throws {
    let path = directory + "/mfqat-bench-anchor-\(ProcessInfo.processInfo.processIdentifier)"
    defer { try? FileManager.default.removeItem(atPath: path) }
    let writer = try ContainerWriter(directory: path, format: format.name, scaleRule: ScaleRule.floor.name)
    try contents(writer)
    try writer.commit()
    let container = try TensorContainer(path)
    try add(container, container.tensors, values, format.name, &table)
  }

  private func add(
    _ container: TensorContainer, _ tensors: [StoredTensor], _ values: String, _ format: String, _ table: inout Table
  ) throws {
    var stored = 0, interleaved = 0, entropy = 0.0, elements = 0
    for tensor in tensors {
      for plane in try container.planeSizes(tensor.name) {
        stored += plane.stored
        entropy += plane.entropy
        if plane.kind == .codes { elements += plane.content }
      }
      interleaved += try container.interleavedSize(tensor.name)
    }
    let bits = try MXFormat(named: format).bitsPerWeight
    let storedBits = 8 * Double(stored) / Double(elements)
    let above = Double(stored) / entropy - 1, ratio = Double(stored) / Double(interleaved)
    report.line([
      ("bench", "anchor-size"), ("values", .string(values)), ("format", .string(format)),
      ("elements", .integer(elements)),
      ("stored_bytes", .integer(stored)), ("entropy_bytes", entropy.json), ("interleaved_bytes", .integer(interleaved)),
      ("above_entropy", above.json), ("of_interleaved", ratio.json),
    ])
    table.add([
      values, format, bits.fixed(2), storedBits.fixed(3), (100 * above).fixed(2) + " %", (100 * ratio).fixed(1) + " %",
    ])
  }
}
