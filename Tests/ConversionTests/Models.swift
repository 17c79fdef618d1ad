import Checkpoints
import Conversion
import Formats
import Foundation
import Kernels
import Tensors
import TestSupport
import Testing
import Transformer

/// A directory of its own for one test, removed with it.
final class Scratch {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("conversion-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func callAsFunction(_ name: String) -> String { path + "/" + name }
  var names: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: path).sorted() } }
}

func contents(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

/// A small model whose every matrix has rows that end inside a block.
enum Synthetic {
  static let configuration = """
    {
      "architectures": ["LlamaForCausalLM"],
      "model_type": "llama",
      "torch_dtype": "bfloat16",
      "hidden_size": 50,
      "intermediate_size": 77,
      "num_hidden_layers": 2,
      "num_attention_heads": 5,
      "num_key_value_heads": 5,
      "vocab_size": 41,
      "max_position_embeddings": 64,
      "rms_norm_eps": 1e-06,
      "tie_word_embeddings": false,
      "note": "kept as it is"
    }
    """
  static let tokenizer = Array(#"{"model":{"vocab":{"é":0}}}  "#.utf8)

  /// Writes a model folder; `value` gives element i of tensor t.
  static func write(
    _ folder: String, json: String = configuration,
    value: (Int, Int) -> Float = { t, i in Synthetic.weight(t, i) }
  ) throws {
    let configuration = try ModelConfiguration(json: Array(json.utf8), source: "synthetic")
    let layout = ParameterLayout(configuration)
    let directory = try AtomicDirectory(target: folder)
    let writer = try SafeTensorsWriter(
      directory.path("model.safetensors"), tensors: layout.all.map { .init($0.spec.name, .f32, $0.spec.shape) })
    for (index, entry) in layout.all.enumerated() {
      let values = (0..<entry.spec.count).map { value(index, $0) }
      try writer.append(entry.spec.name, values.span)
    }
    try writer.commit()
    try directory.write(Array(json.utf8), to: "config.json")
    try directory.write(tokenizer, to: "tokenizer.json")
    try directory.commit()
  }

  /// Weights over many binades, with zero blocks, exact powers of two and negative zeros among them.
  static func weight(_ tensor: Int, _ index: Int) -> Float {
    let random = CounterRandom(seed: 11, stream: UInt64(tensor))
    if index / 32 % 23 == 7 { return index % 2 == 0 ? 0 : -0.0 }
    let uniform = Float(random.uniform(UInt64(index))) - 0.5
    let scale = Float(sign: .plus, exponent: Int(random.integer(UInt64(index / 40), below: 12)) - 9, significand: 1)
    return index % 61 == 3 ? scale : uniform * scale
  }
}

/// What can be converted here: the synthetic model always, the golden ones where they are.
enum Models {
  static let names = ["synthetic"] + (SharedData.isPresent ? ["tiny-qwen2", "tiny-qwen3", "tiny-llama3rope"] : [])
  static let anchors: [MXFormat] = [.mxint8, .mxfp8_e4m3, .mxfp8_e5m2]

  static func open(_ name: String, in scratch: Scratch) throws -> HuggingFaceFolder {
    guard name == "synthetic" else { return try HuggingFaceFolder(SharedData.url("golden/models/" + name).path) }
    try Synthetic.write(scratch("synthetic"))
    return try HuggingFaceFolder(scratch("synthetic"))
  }

  /// An anchor of the model in `format`, by direct quantization.
  static func anchor(_ name: String, _ format: MXFormat, in scratch: Scratch) throws -> (HuggingFaceFolder, AnchorModel) {
    let dense = try open(name, in: scratch)
    let path = scratch("anchor-" + format.name)
    try Converter(dense).convert(to: [format], out: path)
    return (dense, try AnchorModel(path))
  }
}

// MARK: Whole tensors, by the scalar codec

func values(_ source: any ModelSource, _ spec: ParameterSpec) throws -> [Float] {
  var values = [Float](repeating: .nan, count: spec.count)
  var span = values.mutableSpan
  try source.read(spec, rows: 0..<spec.rows, into: &span)
  return values
}

func packed(_ anchor: AnchorModel, _ spec: ParameterSpec) throws -> [ScalarCodec.PackedRow] {
  let blocks = PackedTensor.blockCount(spec.columns)
  var codes = [UInt8](repeating: 0, count: spec.count), scales = [UInt8](repeating: 0, count: spec.rows * blocks)
  var codeSpan = codes.mutableSpan, scaleSpan = scales.mutableSpan
  try anchor.readCodes(spec, rows: 0..<spec.rows, codes: &codeSpan, scales: &scaleSpan)
  return (0..<spec.rows).map { row in
    ScalarCodec.PackedRow(
      codes: Array(codes[row * spec.columns..<(row + 1) * spec.columns]),
      scales: Array(scales[row * blocks..<(row + 1) * blocks]))
  }
}

func quantized(_ source: any ModelSource, _ spec: ParameterSpec, as format: MXFormat, rule: ScaleRule = .floor)
  throws -> [ScalarCodec.PackedRow]
{
  let all = try values(source, spec)
  return (0..<spec.rows).map { row in
    ScalarCodec.quantize(row: Array(all[row * spec.columns..<(row + 1) * spec.columns]), as: format, rule: rule)
  }
}

func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }

/// All weights of a source in a format, unit by unit.
func loaded(_ source: any ModelSource, as format: MXFormat?) throws -> ([UInt32], FormattedWeights) {
  let parameters = Parameters(source.configuration, in: Arena("test"))
  let weights = try source.load(into: parameters, as: format)
  var all: [UInt32] = []
  for unit in parameters.units {
    let flat = unit.flat.region(0, rows: 1, columns: unit.flat.count)
    for i in 0..<flat.count { all.append(flat.span[i].bitPattern) }
  }
  return (all, weights)
}

func isDecoderLinear(_ spec: ParameterSpec) -> Bool { spec.role == .linear }
