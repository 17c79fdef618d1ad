import Checkpoints
import Formats
import Foundation
import Tensors
import Testing
import Transformer

/// Anchors whose tensors are in different formats, and anchors whose scales no rule gives.
@Suite struct MixedAnchorTests {
  private static let layout = AnchorFixture.layout

  /// Small floats for the attention outputs, few bits for the gates, the rest as integers of 8 bits.
  private static func format(_ spec: ParameterSpec) -> MXFormat {
    if spec.name.contains("gate_proj") { return .mxint3 }
    return spec.name.contains("o_proj") ? .mxfp4 : .mxint8
  }

  /// The fixture's codes, confined to those that `format` has.
  private static func codes(_ spec: ParameterSpec, _ format: MXFormat) -> [UInt8] {
    AnchorFixture.codes(spec).map { code in
      guard format.family == .integer else { return code & 0xF }
      let limit = 1 << (format.bits - 1)
      return UInt8(bitPattern: Int8(Int(Int8(bitPattern: code)) % limit))
    }
  }

  private static func write(
    _ path: String, scales: StoredScales = .rule(.floor), format: (ParameterSpec) -> MXFormat = format,
    metadata: JSONObject = JSONObject()
  ) throws {
    let linears = layout.all.map(\.spec).filter { $0.role == .linear }
    let formats = Dictionary(uniqueKeysWithValues: linears.map { ($0.name, format($0)) })
    let name = try #require(FormatMix(formats, layout).dominant)
    try AnchorExport.write(
      directory: path, format: name, scales: scales, layout: layout, sidecars: [("config.json", AnchorFixture.json())],
      metadata: metadata
    ) { export in
      for (_, spec) in layout.all {
        guard let format = formats[spec.name] else {
          try export.addDense(spec, values: AnchorFixture.values(spec).span)
          continue
        }
        let codes = codes(spec, format), scales = AnchorFixture.scales(spec), blocks = PackedTensor.blockCount(spec.columns)
        // In two runs, so that a run takes up the piece of the one before.
        for rows in [0..<spec.rows / 2, spec.rows / 2..<spec.rows] {
          try export.addPacked(
            spec, as: format, rows: rows,
            codes: codes.span.extracting(rows.lowerBound * spec.columns..<rows.upperBound * spec.columns),
            scales: scales.span.extracting(rows.lowerBound * blocks..<rows.upperBound * blocks))
        }
      }
    }
  }

  private func parameters(_ model: AnchorModel) -> Parameters { Parameters(model.configuration, in: Arena("test")) }

  @Test func everyTensorIsReadInItsOwnFormat() throws {
    let scratch = try AnchorScratch()
    try Self.write(scratch("a"), metadata: JSONObject(["plan": "kept"]))
    let model = try AnchorModel(scratch("a"))
    #expect(model.format == .mxint8 && model.metadata["plan"] == "kept" && model.scaleRule == .floor)
    #expect(model.mix.description == "mixed mxint3-mxint8" && model.mix.isMixed)
    #expect(model.mix.shares.map(\.format) == [.mxint3, .mxfp4, .mxint8])
    #expect(model.mix.shares.map(\.tensors) == [2, 2, 10])
    #expect(model.mix.shares.map(\.weights) == [2 * 50 * 40, 2 * 40 * 40, 2 * (40 * 40 + 2 * 20 * 40 + 2 * 50 * 40)])
    #expect(TensorContainer.verify(scratch("a")) == [])

    let loaded = parameters(model)
    let weights = try model.load(into: loaded, as: nil)
    #expect(weights.label == "as stored in mixed mxint3-mxint8" && weights.name == "mixed mxint3-mxint8")
    #expect(weights.format == nil && weights.quantizedTensors == 14)
    var bytes = 0, count = 0
    for (_, spec) in model.layout.all where spec.role == .linear {
      let format = Self.format(spec)
      #expect(model.storedFormat(of: spec.name) == format.name)
      bytes += format.packedByteCount(rows: spec.rows, columns: spec.columns)
      count += spec.count
      let codes = Self.codes(spec, format), scales = AnchorFixture.scales(spec)
      let blocks = PackedTensor.blockCount(spec.columns)
      var expected: [Float] = []
      for row in 0..<spec.rows {
        let packed = ScalarCodec.PackedRow(
          codes: Array(codes[row * spec.columns..<(row + 1) * spec.columns]),
          scales: Array(scales[row * blocks..<(row + 1) * blocks]))
        expected += ScalarCodec.dequantize(packed, from: format)
      }
      var values = [Float](repeating: .nan, count: spec.count)
      var span = values.mutableSpan
      try model.read(spec, rows: 0..<spec.rows, into: &span)
      #expect(values == expected, "\(spec.name)")
    }
    #expect(weights.bitsPerWeight == 8 * Double(bytes) / Double(count))
  }

  @Test func slicesAreRefusedWithTheTensorThatIsInTheWay() throws {
    let scratch = try AnchorScratch()
    try Self.write(scratch("a"))
    let model = try AnchorModel(scratch("a"))
    #expect(model.formatsThatCanBeCut.isEmpty)
    for format in [MXFormat.mxint8, .mxint2, .mxfp4] {
      anchorRefusal("\(format) cannot be cut from mixed mxint3-mxint8", "of tensor 'model.layers.0.", "no format in common") {
        try model.load(into: parameters(model), as: format)
      }
    }
    // One that integers of 8 bits can join.
    try Self.write(scratch("b")) { $0.name.contains("gate_proj") ? .mxint3 : .mxint8 }
    let other = try AnchorModel(scratch("b"))
    #expect(other.formatsThatCanBeCut == [.mxint3])
    let weights = try other.load(into: parameters(other), as: .mxint3)
    #expect(weights.label == "sliced from mixed mxint3-mxint8" && weights.format == .mxint3)
    anchorRefusal("of tensor 'model.layers.0.mlp.gate_proj.weight'", "All tensors can give mxint3") {
      try other.load(into: parameters(other), as: .mxint2)
    }
  }

  @Test func fittedScalesAreUsedAsTheyAre() throws {
    let scratch = try AnchorScratch()
    try Self.write(scratch("fitted"), scales: .fitted) { _ in .mxint8 }
    try Self.write(scratch("floor")) { _ in .mxint8 }
    let model = try AnchorModel(scratch("fitted")), other = try AnchorModel(scratch("floor"))
    #expect(model.scales == .fitted && model.scaleRule == nil && model.formatsThatCanBeCut == [.mxint8])
    anchorRefusal("mxint4 cannot be cut", "scales of this anchor were fitted by a solver", "as it is") {
      try model.load(into: parameters(model), as: .mxint4)
    }
    // The same codes and scales are the same values, whatever chose them.
    for format in [nil, MXFormat.mxint8] {
      let a = parameters(model), b = parameters(other)
      #expect(try model.load(into: a, as: format).label == "as stored in mxint8")
      try other.load(into: b, as: format)
      for (unit, spec) in a.layout.all { #expect(a.values(unit, spec) == b.values(unit, spec), "\(spec.name)") }
    }
    for rule in StoredScales.names { #expect(StoredScales(rule)?.name == rule) }
    #expect(StoredScales("guess") == nil && StoredScales.rule(.floor).permitsSlices)
    #expect(!StoredScales.rule(.even).permitsSlices && !StoredScales.fitted.permitsSlices)
  }

  @Test func anAnchorIsNamedAfterTheFormatThatHoldsMost() throws {
    let linears = Self.layout.all.map(\.spec).filter { $0.role == .linear }
    func dominant(_ format: (ParameterSpec) -> MXFormat) -> MXFormat? {
      FormatMix(Dictionary(uniqueKeysWithValues: linears.map { ($0.name, format($0)) }), Self.layout).dominant
    }
    #expect(dominant { $0.name.contains("mlp") ? .mxint2 : .mxint8 } == .mxint2)
    #expect(dominant { $0.name.contains(".0.") ? .mxint2 : .mxint4 } == .mxint4, "as many: the widest")
    #expect(FormatMix([:], Self.layout).dominant == nil)
    #expect(FormatMix([:], Self.layout).description == "fp32")
  }
}

extension JSONObject {
  fileprivate init(_ members: KeyValuePairs<String, JSONValue>) {
    self.init()
    for (key, value) in members { self[key] = value }
  }
}
