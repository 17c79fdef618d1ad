import Checkpoints
import Conversion
import Formats
import Foundation
import Quantization
import Testing
import Transformer

@Suite struct RefusalTests {
  /// The text of the error `body` throws.
  func refusal(_ body: () throws -> Void, sourceLocation: SourceLocation = #_sourceLocation) -> String {
    do {
      try body()
      Issue.record("nothing was refused", sourceLocation: sourceLocation)
      return ""
    } catch { return "\(error)" }
  }

  @Test func formatsThatCannotBeCutAreRefusedWithThoseThatCan() throws {
    let scratch = try Scratch()
    let (_, anchor) = try Models.anchor("synthetic", .mxint8, in: scratch)
    let converter = try Converter(anchor)
    var text = refusal { try converter.convert(to: [.mxint4, .mxfp4], out: scratch("out")) }
    #expect(text.contains("cannot slice mxfp4 from mxint8") && text.contains("mxint2, mxint3, mxint4, mxint5, mxint6, mxint7"))
    #expect(!FileManager.default.fileExists(atPath: scratch("out")), "nothing is written before all is possible")
    try converter.convert(to: [.mxint4], out: scratch("cut"))
    let cut = try AnchorModel(scratch("cut"))
    text = refusal { try Converter(cut).convert(to: [.mxint2], out: scratch("out")) }
    #expect(text.contains("never from a slice"))
    #expect(cut.formatsThatCanBeCut == [.mxint4])
    text = refusal { _ = try loaded(anchor, as: .mxfp6_e2m3) }
    #expect(text.contains("mxint2, mxint3"))
    #expect(refusal { try converter.convert(to: [], out: scratch("out")) }.contains("no format"))
    #expect(refusal { try converter.convert(to: [.mxint4, .mxint4], out: scratch("out")) }.contains("twice"))
    #expect(throws: SliceError.self) { try converter.plan(to: [.mxfp8_e4m3], out: scratch("out"), as: .dense) }
  }

  @Test(arguments: ConversionPlan.Container.allCases)
  func existingOutputsAreRefusedBeforeAnythingIsWritten(container: ConversionPlan.Container) throws {
    let scratch = try Scratch()
    let (_, anchor) = try Models.anchor("synthetic", .mxint8, in: scratch)
    let converter = try Converter(anchor)
    try converter.convert(to: [.mxint4], out: scratch("out/mxint4"), as: container)
    let before = try contents(scratch("out/mxint4/config.json"))
    let text = refusal { try converter.convert(to: [.mxint3, .mxint4], out: scratch("out"), as: container) }
    #expect(text.contains("out/mxint4") && text.contains("nothing is overwritten"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: scratch("out")) == ["mxint4"])
    #expect(try contents(scratch("out/mxint4/config.json")) == before)
    // An empty directory is as good as none.
    try FileManager.default.createDirectory(atPath: scratch("empty"), withIntermediateDirectories: false)
    try converter.convert(to: [.mxint4], out: scratch("empty"), as: container)
    #expect(FileManager.default.createFile(atPath: scratch("file"), contents: nil))
    #expect(refusal { try converter.convert(to: [.mxint4], out: scratch("file")) }.contains("file of that name"))
  }

  @Test func aDryRunPredictsAndWritesNothing() throws {
    let scratch = try Scratch()
    let (_, anchor) = try Models.anchor("synthetic", .mxint8, in: scratch)
    let names = try scratch.names
    let converter = try Converter(anchor)
    let plan = try converter.convert(to: [.mxint4, .mxint2], out: scratch("out"), dryRun: true)
    #expect(try scratch.names == names)
    let specs = anchor.layout.all.map(\.spec)
    let linear = specs.filter(isDecoderLinear)
    for output in plan.outputs {
      #expect(output.writtenBytes == nil && output.codeBytes == linear.reduce(0) { $0 + $1.count })
      #expect(output.scaleBytes == linear.reduce(0) { $0 + $1.rows * (($1.columns + 31) / 32) })
      #expect(output.denseBytes == 4 * (anchor.layout.elementCount - output.codeBytes))
      #expect(output.tensors.map(\.name) == anchor.layout.names)
      #expect(output.tensors.reduce(0) { $0 + $1.bytes } + output.sidecarBytes == output.totalBytes)
    }
    #expect(plan.totalBytes == 2 * plan.outputs[0].totalBytes)
    #expect(plan.outputs[1].bitsPerWeight > 2.25 && plan.outputs[1].bitsPerWeight < 2.6, "row tails cost a little")
    let done = try converter.convert(to: [.mxint4, .mxint2], out: scratch("out"))
    for (before, after) in zip(plan.outputs, done.outputs) {
      #expect(before.totalBytes == after.totalBytes && before.directory == after.directory)
      let written = try #require(after.writtenBytes)
      let sum = try FileManager.default.contentsOfDirectory(atPath: after.directory)
        .reduce(0) { try $0 + contents(after.directory + "/" + $1).count }
      #expect(written == sum)
    }
  }

  @Test func damagedInputIsRefused() throws {
    let scratch = try Scratch()
    let (_, anchor) = try Models.anchor("synthetic", .mxint8, in: scratch)
    let data = anchor.path + "/" + (try #require(TensorContainer(anchor.path).manifest.files.first)).name
    let sound = try contents(data)
    // Truncated: seen at opening, and by a converter that had opened it before.
    let converter = try Converter(anchor)
    try Data(sound.prefix(sound.count / 2)).write(to: URL(fileURLWithPath: data), options: [])
    #expect(refusal { _ = try AnchorModel(anchor.path) }.contains("expected \(sound.count) bytes"))
    #expect(refusal { try converter.convert(to: [.mxint4], out: scratch("out")) }.contains("cannot read"))
    // One flipped bit anywhere in the frames.
    for position in stride(from: 5, to: sound.count - 200, by: sound.count / 9) {
      var flipped = sound
      flipped[position] ^= 0x10
      try Data(flipped).write(to: URL(fileURLWithPath: data), options: [])
      for container in ConversionPlan.Container.allCases {
        let text = refusal {
          try Converter(AnchorModel(anchor.path)).convert(to: [.mxint4], out: scratch("out"), as: container)
        }
        #expect(text.contains("damaged"), "\(text)")
      }
    }
    #expect(try scratch.names.allSatisfy { !$0.hasPrefix("out") }, "no output and no temporary stays")
  }

  @Test func settingsThatHaveNoEffectAreRefused() throws {
    let scratch = try Scratch()
    let (_, anchor) = try Models.anchor("synthetic", .mxint8, in: scratch)
    #expect(refusal { _ = try Converter(anchor, selection: TensorSelection()) }.contains("selection"))
    #expect(refusal { _ = try Converter(anchor, scaleRule: .rceil) }.contains("rule 'floor'"))
    #expect(throws: Never.self) { try Converter(anchor, scaleRule: .floor) }
  }

  @Test func otherScaleRulesQuantizeButDoNotSlice() throws {
    let scratch = try Scratch()
    let dense = try Models.open("synthetic", in: scratch)
    let plan = try Converter(dense, scaleRule: .rceil).convert(to: [.mxfp8_e4m3], out: scratch("rceil"))
    #expect(plan.outputs[0].label == "rounded directly, scales by rceil")
    let anchor = try AnchorModel(scratch("rceil"))
    #expect(anchor.scaleRule == .rceil && anchor.formatsThatCanBeCut == [.mxfp8_e4m3])
    let spec = anchor.layout.units[1].parameters[0]
    #expect(try packed(anchor, spec) == quantized(dense, spec, as: .mxfp8_e4m3, rule: .rceil))
    #expect(refusal { try Converter(anchor).convert(to: [.mxfp4], out: scratch("out")) }.contains("'rceil'"))
    #expect(throws: Never.self) { try Converter(anchor).convert(to: [.mxfp8_e4m3], out: scratch("copy")) }
    #expect(try AnchorModel(scratch("copy")).scaleRule == .rceil)
  }

  @Test func selectionsOfDenseModels() throws {
    let scratch = try Scratch()
    let dense = try Models.open("synthetic", in: scratch)
    let selection = TensorSelection(include: ["lm_head.weight", "model.layers.*.mlp.down_proj.weight"])
    try Converter(dense, selection: selection).convert(to: [.mxint8], out: scratch("some"))
    #expect(try Set(AnchorModel(scratch("some")).quantized.keys) == [
      "lm_head.weight", "model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight",
    ])
    let vectors = TensorSelection(include: ["model.**.input_layernorm.weight"])
    #expect(refusal { _ = try Converter(dense, selection: vectors) }.contains("vector"))
    #expect(throws: QuantizationError.self) { try Converter(dense, selection: TensorSelection(include: ["nothing"])) }
  }

  @Test func weightsThatAreNoNumbersAreRefused() throws {
    let scratch = try Scratch()
    try Synthetic.write(scratch("model")) { t, i in t == 3 && i == 200 ? .nan : Synthetic.weight(t, i) }
    let dense = try HuggingFaceFolder(scratch("model"))
    let name = ParameterLayout(dense.configuration).all[3].spec.name
    for container in ConversionPlan.Container.allCases {
      let text = refusal { try Converter(dense).convert(to: [.mxint8], out: scratch("out"), as: container) }
      #expect(text.contains(name) && text.contains("NaN"))
    }
    #expect(refusal { _ = try loaded(dense, as: .mxint8) }.contains(name))
    #expect(try scratch.names == ["model"])
  }
}
