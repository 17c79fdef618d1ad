import Checkpoints
import Conversion
import Formats
import Foundation
import Testing
import Transformer

/// Weights as they are, as a model folder.
@Suite struct FullPrecisionTests {
  /// Of a container of kind `checkpoint`, whose masters are the weights.
  private func checkpoint(of model: HuggingFaceFolder, _ path: String) throws -> CheckpointModel {
    let writer = try ContainerWriter(directory: path, kind: .checkpoint)
    for (_, spec) in ParameterLayout(model.configuration).all {
      let values = try values(model, spec)
      try writer.addDense(
        name: CheckpointTensors.master(spec.name), shape: [spec.rows, spec.columns], values: values.span)
    }
    for name in model.sidecarNames { try writer.addSidecar(name: name, bytes: model.sidecar(name)) }
    try writer.commit()
    return try CheckpointModel(path)
  }

  @Test func aCheckpointLeavesAsAModelFolder() throws {
    let scratch = try Scratch()
    try Synthetic.write(scratch("model"))
    let model = try HuggingFaceFolder(scratch("model")), source = try checkpoint(of: model, scratch("step-000001"))
    #expect(try Converter(source).convertToFullPrecision(out: scratch("out"), dryRun: true) == 0)
    #expect(try scratch.names == ["model", "step-000001"])
    var last = 0
    let bytes = try Converter(source).convertToFullPrecision(out: scratch("out")) { last = $0 == $1 ? $0 : last }
    #expect(last == source.layout.elementCount && bytes > 4 * last)

    #expect(FolderHashes.verify(scratch("out")).isEmpty)
    let folder = try HuggingFaceFolder(scratch("out"))
    for (_, spec) in source.layout.all {
      #expect(try bits(values(folder, spec)) == bits(values(model, spec)), "\(spec.name)")
    }
    #expect(try folder.sidecar("tokenizer.json") == Synthetic.tokenizer)
    #expect(throws: ConversionError.self) { try Converter(source).convertToFullPrecision(out: scratch("out")) }
  }

  @Test func anAnchorHasNoSuchWeights() throws {
    let scratch = try Scratch()
    let (_, anchor) = try Models.anchor("synthetic", .mxint8, in: scratch)
    let error = #expect(throws: ConversionError.self) {
      try Converter(anchor).convertToFullPrecision(out: scratch("out"))
    }
    #expect("\(error!)".contains("--to mxint8 --as dense"))
    #expect(!FileManager.default.fileExists(atPath: scratch("out")))
  }
}
