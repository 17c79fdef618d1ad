import ArgumentParser
import Checkpoints
import Foundation
import Tensors
import Transformer

/// `mfqat-bench outliers`: a copy of a model with planted outlier channels, for tests of rotations.
///
/// Some channels of every norm's gain are multiplied by a power of two, and what the following linear layers make of them
/// is divided by it: the function is the same to the bit in fp32, but the layers' inputs now have the outlier channels
/// that large language models grow by themselves.
struct OutliersCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "outliers", abstract: "Copy a model, its layers' inputs with outlier channels, its function unchanged.")

  @Option(help: "Hugging Face folder to copy.")
  var model: String
  @Option(help: "Folder to write.")
  var out: String
  @Option(help: "Outlier channels of every layer's inputs.")
  var channels = 8
  @Option(help: "By which power of two they are larger.")
  var power = 6

  func validate() throws {
    guard channels > 0, (1...20).contains(power) else { throw ValidationError("--channels is above 0, --power from 1 to 20") }
  }

  func run() throws {
    let source = try ModelSources.open(model), layout = ParameterLayout(source.configuration)
    let width = source.configuration.hiddenSize
    guard channels <= width else { throw ValidationError("--channels \(channels) of a width of \(width)") }
    let chosen = (0..<channels).map { ($0 * width + width / 2) / channels }
    try FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true)
    for name in try FileManager.default.contentsOfDirectory(atPath: model)
    where !name.hasSuffix(".safetensors") && !name.hasSuffix(".safetensors.index.json") && name != FolderHashes.fileName {
      let target = out + "/" + name
      if FileManager.default.fileExists(atPath: target) { try FileManager.default.removeItem(atPath: target) }
      try FileManager.default.copyItem(atPath: model + "/" + name, toPath: target)
    }
    let writer = try SafeTensorsWriter(
      out + "/model.safetensors", tensors: layout.all.map { .init($0.spec.name, .f32, $0.spec.shape) }, replacing: true)
    let arena = Arena("outliers")
    for (_, spec) in layout.all {
      var values = Tensor(rows: spec.rows, columns: spec.columns, in: arena)
      do {
        var span = values.mutableSpan
        try source.read(spec, rows: 0..<spec.rows, into: &span)
        plant(spec, chosen, &span)
      }
      try writer.append(spec.name, values.span)
    }
    try writer.commit()
    print("\(out): channels \(chosen.map(String.init).joined(separator: ", ")) of every layer's inputs are \(1 << power) times larger")
  }

  private func plant(_ spec: ParameterSpec, _ chosen: [Int], _ values: inout MutableSpan<Float>) {
    let factor = Float(1 << power), parts = spec.name.split(separator: ".")
    guard parts.count > 2, parts[1] == "layers" else { return }
    let kind = parts[parts.count - 2]
    if kind == "input_layernorm" || kind == "post_attention_layernorm" {
      for channel in chosen { values[channel] *= factor }
    } else if spec.shape.count == 2, ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"].contains(kind) {
      for row in 0..<spec.rows {
        for channel in chosen { values[row * spec.columns + channel] /= factor }
      }
    }
  }
}
