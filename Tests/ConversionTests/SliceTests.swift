import Checkpoints
import Conversion
import Formats
import Foundation
import Quantization
import Tensors
import TestSupport
import Testing
import Transformer

@Suite struct SliceTests {
  /// Every format that every anchor gives, against the scalar codec in memory.
  @Test(arguments: Models.names, Models.anchors)
  func slicedAnchorsHoldTheBytesOfSlicesInMemory(name: String, format: MXFormat) throws {
    let scratch = try Scratch()
    let (dense, anchor) = try Models.anchor(name, format, in: scratch)
    #expect(anchor.format == format && anchor.scaleRule == .floor && anchor.metadata["method"] == "direct")
    let linears = anchor.layout.all.map(\.spec).filter(isDecoderLinear)
    #expect(Set(linears.map(\.name)) == Set(anchor.quantized.keys) && !linears.isEmpty)
    for spec in linears { #expect(try packed(anchor, spec) == quantized(dense, spec, as: format), "\(spec.name)") }

    let targets = anchor.formatsThatCanBeCut.filter { $0 != format }
    #expect(targets.count == (format == .mxint8 ? 6 : 3))
    let plan = try Converter(anchor).convert(to: targets, out: scratch("cut"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: scratch("cut")).sorted() == targets.map(\.name).sorted())
    for (target, output) in zip(targets, plan.outputs) {
      #expect(output.label == "sliced from \(format.name)" && output.quantizedTensors == linears.count)
      let cut = try AnchorModel(scratch("cut/" + target.name))
      #expect(cut.format == target && cut.metadata["sliced_from"] == .string(format.name))
      #expect(TensorContainer.verify(cut.path) == [])
      let slice = try SlicePlan(from: format, to: target)
      for (_, spec) in anchor.layout.all {
        if isDecoderLinear(spec) {
          let expected = try packed(anchor, spec).map { ScalarCodec.slice($0, plan: slice) }
          #expect(try packed(cut, spec) == expected, "\(spec.name) in \(target.name)")
        } else {
          #expect(try bits(values(cut, spec)) == bits(values(dense, spec)), "\(spec.name)")
        }
      }
      // What the converter wrote is what slicing on the way in gives.
      let (direct, weights) = try loaded(anchor, as: target)
      let (written, stored) = try loaded(cut, as: nil)
      #expect(direct == written)
      #expect(weights.label == "sliced from \(format.name)" && stored.label == "as stored in \(target.name)")
      #expect(weights.bitsPerWeight == stored.bitsPerWeight && weights.quantizedTensors == linears.count)
      #expect(try loaded(cut, as: target).0 == written)
    }
  }

  @Test(arguments: Models.names, [MXFormat.mxint8, .mxint3, .mxfp4, .mxfp8_e5m2])
  func denseFoldersHoldTheDequantizedValues(name: String, target: MXFormat) throws {
    let scratch = try Scratch()
    let anchorFormat: MXFormat = target.family == .integer ? .mxint8 : .mxfp8_e5m2
    let (dense, anchor) = try Models.anchor(name, anchorFormat, in: scratch)
    try Converter(anchor).convert(to: [target], out: scratch("sliced"), as: .dense)
    let plan = try Converter(dense).convert(to: [target], out: scratch("direct"), as: .dense)
    #expect(plan.outputs[0].codeBytes == 0 && plan.outputs[0].denseBytes == 4 * anchor.layout.elementCount)
    let sliced = try HuggingFaceFolder(scratch("sliced")), direct = try HuggingFaceFolder(scratch("direct"))
    let slice = try SlicePlan(from: anchorFormat, to: target)
    for (_, spec) in anchor.layout.all {
      guard isDecoderLinear(spec) else {
        #expect(try bits(values(sliced, spec)) == bits(values(dense, spec)), "\(spec.name)")
        continue
      }
      let cut = try packed(anchor, spec).flatMap {
        ScalarCodec.dequantize(ScalarCodec.slice($0, plan: slice), from: target)
      }
      #expect(try bits(values(sliced, spec)) == bits(cut), "\(spec.name)")
      let rounded = try quantized(dense, spec, as: target).flatMap { ScalarCodec.dequantize($0, from: target) }
      #expect(try bits(values(direct, spec)) == bits(rounded), "\(spec.name)")
    }
    #expect(try loaded(sliced, as: nil).0 == loaded(anchor, as: target).0)
    let (onTheFly, weights) = try loaded(dense, as: target)
    #expect(try loaded(direct, as: nil).0 == onTheFly)
    #expect(weights.label == "rounded directly" && weights.format == target)
    #expect(try SafeTensorsFile(scratch("direct/model.safetensors")).metadata["mfqat_method"] == "rounded directly")
  }

  @Test(arguments: Models.names)
  func sidecarsTravel(name: String) throws {
    let scratch = try Scratch()
    let (dense, anchor) = try Models.anchor(name, .mxint8, in: scratch)
    try Converter(anchor).convert(to: [.mxint4], out: scratch("folder"), as: .dense)
    let folder = try HuggingFaceFolder(scratch("folder"))
    for source in [anchor, folder] as [any ModelSource] {
      #expect(Set(source.sidecarNames) == Set(dense.sidecarNames))
      for file in dense.sidecarNames where file != "config.json" {
        #expect(try source.sidecar(file) == dense.sidecar(file), "\(file)")
      }
      let before = try #require(JSONScanner.parse(dense.sidecar("config.json")).object)
      let after = try #require(JSONScanner.parse(source.sidecar("config.json")).object)
      #expect(before.keys == after.keys)
      for (key, value) in after.members {
        #expect(value == (key.hasSuffix("dtype") ? "float32" : before[key]), "\(key)")
      }
    }
    if name == "synthetic" { #expect(try folder.sidecar("tokenizer.json") == Synthetic.tokenizer) }
  }

  @Test(arguments: Models.anchors)
  func ownFormatIsAVerifiedCopy(format: MXFormat) throws {
    let scratch = try Scratch()
    let (_, anchor) = try Models.anchor("synthetic", format, in: scratch)
    let plan = try Converter(anchor).convert(to: [format], out: scratch("copy"))
    #expect(plan.outputs[0].label == "as stored in \(format.name)")
    let a = try TensorContainer(anchor.path), b = try TensorContainer(scratch("copy"))
    #expect(a.metadata == b.metadata && a.kind == b.kind && a.tensors.map(\.name) == b.tensors.map(\.name))
    for tensor in a.tensors { #expect(try a.contentHashes(tensor.name) == b.contentHashes(tensor.name)) }
    for file in try FileManager.default.contentsOfDirectory(atPath: anchor.path) {
      #expect(try contents(anchor.path + "/" + file) == contents(scratch("copy/" + file)), "\(file)")
    }
  }

  /// Runs of rows are an implementation detail: a matrix of several runs gives the bytes of one.
  @Test func tensorsOfManyRunsEqualTheScalarCodec() throws {
    let scratch = try Scratch()
    let json = Synthetic.configuration.replacing("\"intermediate_size\": 77", with: "\"intermediate_size\": 45001")
    try Synthetic.write(scratch("model"), json: json)
    let dense = try HuggingFaceFolder(scratch("model"))
    let gate = try #require(ParameterLayout(dense.configuration).all.first { $0.spec.name.hasSuffix("0.mlp.gate_proj.weight") })
    #expect(gate.spec.count > 2 << 20)
    try Converter(dense).convert(to: [.mxint8], out: scratch("anchor"))
    let anchor = try AnchorModel(scratch("anchor"))
    try Converter(anchor).convert(to: [.mxint4], out: scratch("cut"))
    let cut = try AnchorModel(scratch("cut"))
    let expected = try quantized(dense, gate.spec, as: .mxint8)
    #expect(try packed(anchor, gate.spec) == expected)
    let slice = try SlicePlan(from: .mxint8, to: .mxint4)
    #expect(try packed(cut, gate.spec) == expected.map { ScalarCodec.slice($0, plan: slice) })
    #expect(try loaded(anchor, as: .mxint4).0 == loaded(cut, as: nil).0)
  }
}
