import Checkpoints
import Conversion
import Formats
import Foundation
import Tensors
import Testing
import Transformer

/// Anchors that mix formats leave as they are; anchors with fitted scales stay that.
@Suite struct MixedAnchorTests {
  /// An anchor of `mxint8`, of which the down projections keep `low` only.
  private func mixed(
    _ anchor: AnchorModel, low: MXFormat, scales: StoredScales = .rule(.floor), to path: String
  ) throws -> AnchorModel {
    let plan = try SlicePlan(from: .mxint8, to: low)
    try AnchorExport.write(
      directory: path, format: .mxint8, scales: scales, layout: anchor.layout,
      sidecars: try anchor.travellingSidecars(), metadata: anchor.metadata
    ) { export in
      for (_, spec) in anchor.layout.all { try add(spec, of: anchor, to: export, low, plan) }
    }
    return try AnchorModel(path)
  }

  private func add(
    _ spec: ParameterSpec, of anchor: AnchorModel, to export: AnchorExport, _ low: MXFormat, _ plan: SlicePlan
  ) throws {
    guard anchor.quantized[spec.name] != nil else {
      let values = try values(anchor, spec)
      return try export.addDense(spec, values: values.span)
    }
    let isLow = spec.name.contains("down_proj")
    var codes: [UInt8] = [], scales: [UInt8] = []
    for row in try packed(anchor, spec) {
      let row = isLow ? ScalarCodec.slice(row, plan: plan) : row
      codes += row.codes
      scales += row.scales
    }
    try export.addPacked(spec, as: isLow ? low : nil, codes: codes.span, scales: scales.span)
  }

  @Test func aMixLeavesAsItIs() throws {
    let scratch = try Scratch()
    let (_, anchor) = try Models.anchor("synthetic", .mxint8, in: scratch)
    let model = try mixed(anchor, low: .mxint4, to: scratch("mixed")), converter = try Converter(model)
    let plan = try converter.convertAsStored(out: scratch("copy"))
    let output = plan.outputs[0]
    #expect(output.label == "as stored in mixed mxint4-mxint8" && output.mix == model.mix)
    #expect(output.tensors.compactMap(\.format).count { $0 == .mxint4 } == 2)
    let copy = try AnchorModel(scratch("copy"))
    #expect(copy.metadata == model.metadata && copy.quantized == model.quantized && copy.format == .mxint8)
    let a = try TensorContainer(model.path), b = try TensorContainer(copy.path)
    for tensor in a.tensors { #expect(try a.contentHashes(tensor.name) == b.contentHashes(tensor.name)) }
    let (stored, weights) = try loaded(model, as: nil)
    #expect(weights.bitsPerWeight == output.bitsPerWeight && weights.bitsPerWeight < 8.25 && weights.bitsPerWeight > 4.25)

    try converter.convertAsStored(out: scratch("dense"), as: .dense)
    #expect(try loaded(HuggingFaceFolder(scratch("dense")), as: nil).0 == stored)
    let metadata = try SafeTensorsFile(scratch("dense/model.safetensors")).metadata
    #expect(metadata["mfqat_format"] == "mixed mxint4-mxint8")

    // What all its tensors can give is cut from it as from the anchor it came from.
    let cut = try converter.convert(to: [.mxint4], out: scratch("cut"))
    #expect(cut.outputs[0].label == "sliced from mixed mxint4-mxint8")
    #expect(try loaded(AnchorModel(scratch("cut")), as: nil).0 == loaded(anchor, as: .mxint4).0)
    #expect(try AnchorModel(scratch("cut")).metadata["sliced_from"] == "mixed mxint4-mxint8")
    do {
      try converter.convert(to: [.mxint8], out: scratch("out"))
      Issue.record("a wider format was cut")
    } catch { #expect("\(error)".contains("of tensor 'model.layers.0.mlp.down_proj.weight'"), "\(error)") }
  }

  @Test func fittedScalesStayFitted() throws {
    let scratch = try Scratch()
    let (dense, anchor) = try Models.anchor("synthetic", .mxint8, in: scratch)
    let model = try mixed(anchor, low: .mxint4, scales: .fitted, to: scratch("fitted"))
    let converter = try Converter(model)
    try converter.convertAsStored(out: scratch("copy"))
    #expect(try AnchorModel(scratch("copy")).scales == .fitted)
    for (body, words) in [
      ({ _ = try converter.convert(to: [.mxint4], out: scratch("out")) }, "were fitted by a solver"),
      ({ _ = try Converter(model, scaleRule: .floor) }, "were fitted by a solver"),
      ({ _ = try converter.convertToFullPrecision(out: scratch("out")) }, "--to stored --as dense"),
      ({ _ = try Converter(dense).convertAsStored(out: scratch("out")) }, "stored in full precision"),
      ({ _ = try converter.convertAsStored(out: scratch("copy")) }, "holds"),
    ] as [(() throws -> Void, String)] {
      do {
        try body()
        Issue.record("not refused: \(words)")
      } catch { #expect("\(error)".contains(words), "\(error)") }
    }
    #expect(!FileManager.default.fileExists(atPath: scratch("out")))
  }
}
