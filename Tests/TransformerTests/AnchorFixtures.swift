import Checkpoints
import Formats
import Foundation
import Tensors
import Testing
import Transformer

/// A small model that exists only as an anchor: every tensor in rows that end inside a block.
enum AnchorFixture {
  static func json(_ changes: [(String, String)] = []) -> [UInt8] {
    var text = """
      {"architectures": ["Qwen3ForCausalLM"], "torch_dtype": "float32", "hidden_size": 40, "intermediate_size": 50,
       "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10, "vocab_size": 33,
       "max_position_embeddings": 32, "tie_word_embeddings": true}
      """
    for (old, new) in changes { text = text.replacing(old, with: new) }
    return Array(text.utf8)
  }

  static let layout = layout(of: json())

  static func layout(of json: [UInt8]) -> ParameterLayout {
    ParameterLayout(try! ModelConfiguration(json: json, source: "fixture"))
  }

  static func codes(_ spec: ParameterSpec) -> [UInt8] {
    let random = CounterRandom(seed: 5, stream: spec.name)
    return (0..<spec.count).map { UInt8(bitPattern: Int8(Int(random.integer(UInt64($0), below: 255)) - 127)) }
  }

  static func scales(_ spec: ParameterSpec) -> [UInt8] {
    (0..<spec.rows * PackedTensor.blockCount(spec.columns)).map { UInt8(115 + $0 % 7) }
  }

  static func values(_ spec: ParameterSpec) -> [Float] { (0..<spec.count).map { Float($0 % 97) * 0.01 - 0.3 } }

  /// Writes the anchor in mxint8 as `layout` says, under a configuration that may say something else.
  static func write(
    _ directory: String, layout: ParameterLayout = layout, json: [UInt8] = json(), format: MXFormat = .mxint8,
    sidecars: [(String, [UInt8])] = [], rows: Int = .max
  ) throws {
    let writer = try ContainerWriter(directory: directory, format: format.name, scaleRule: "floor")
    for (_, spec) in layout.all {
      if spec.role == .linear {
        let codes = codes(spec), scales = scales(spec), blocks = PackedTensor.blockCount(spec.columns)
        for row in stride(from: 0, to: spec.rows, by: min(rows, spec.rows)) {
          let end = min(row + min(rows, spec.rows), spec.rows)
          try writer.addPacked(
            name: spec.name, shape: spec.shape, format: format.name, rows: row..<end,
            codes: codes.span.extracting(row * spec.columns..<end * spec.columns),
            scales: scales.span.extracting(row * blocks..<end * blocks))
        }
      } else {
        try writer.addDense(name: spec.name, shape: spec.shape, values: values(spec).span)
      }
    }
    try writer.addSidecar(name: "config.json", bytes: json)
    for (name, bytes) in sidecars { try writer.addSidecar(name: name, bytes: bytes) }
    try writer.commit()
  }
}

final class AnchorScratch {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("anchors-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func callAsFunction(_ name: String) -> String { path + "/" + name }

  func folder(_ name: String) throws {
    try FileManager.default.createDirectory(atPath: self(name), withIntermediateDirectories: true)
  }
}

func anchorRefusal(_ words: String..., sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void) {
  do {
    try body()
    Issue.record("nothing was refused", sourceLocation: sourceLocation)
  } catch {
    for word in words { #expect("\(error)".contains(word), "\(error)", sourceLocation: sourceLocation) }
  }
}
