import Checkpoints
import Conversion
import Formats
import Foundation
import Glibc
import Tensors
import Testing
import Transformer

@Suite struct MemoryTests {
  static let configuration = """
    {"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 524288, "num_hidden_layers": 1,
     "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 32, "max_position_embeddings": 64,
     "tie_word_embeddings": true}
    """

  /// In a process of its own, so that the peak belongs to it: three tensors of 32 Mi weights (128 MiB in fp32), one of
  /// them in rows of half a million, through every path.
  @Test func memoryIsARunOfRows() async {
    await #expect(processExitsWith: .success) {
      func peak() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM") })
        return try #require(Int(line.filter(\.isNumber))) / 1024
      }
      let scratch = try Scratch()
      let json = Array(MemoryTests.configuration.utf8)
      let layout = ParameterLayout(try ModelConfiguration(json: json, source: "test"))
      let before = try peak()
      try AnchorExport.write(
        directory: scratch("anchor"), format: .mxint8, layout: layout, sidecars: [("config.json", json)]
      ) { export in
        for (_, spec) in layout.all {
          guard spec.role == .linear else {
            try export.addDense(spec, values: [Float](repeating: 1, count: spec.count).span)
            continue
          }
          let step = min(spec.rows, max(1, 65536 / spec.columns))
          let codes = [UInt8](repeating: 100, count: step * spec.columns)
          let scales = [UInt8](repeating: 120, count: step * PackedTensor.blockCount(spec.columns))
          for row in stride(from: 0, to: spec.rows, by: step) {
            try export.addPacked(spec, rows: row..<row + step, codes: codes.span, scales: scales.span)
          }
        }
      }
      let converter = try Converter(AnchorModel(scratch("anchor")))
      try #require(converter.bufferBytes < 16 << 20)
      try converter.convert(to: [.mxint4], out: scratch("cut"))
      try converter.convert(to: [.mxint2], out: scratch("dense"), as: .dense)
      try Converter(HuggingFaceFolder(scratch("dense"))).convert(to: [.mxfp4], out: scratch("direct"))
      let grown = try peak() - before
      print("peak memory grew by \(grown) MiB; the largest tensor has 128 MiB in fp32")
      try? FileManager.default.removeItem(atPath: scratch.path)
      exit(grown < 64 ? 0 : 1)
    }
  }
}
