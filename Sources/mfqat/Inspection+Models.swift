import Checkpoints
import Formats
import Quantization
import Reports
import Transformer

extension Inspection {
  static func folder(_ path: String, everyTensor: Bool) throws -> Inspection {
    let model = try HuggingFaceFolder(path)
    let tensors = try ModelFolderTensors(path)
    let layout = ParameterLayout(model.configuration)
    let quantized = Set(try TensorSelection().resolve(layout.names).quantized)
    let rows = layout.all.map { _, spec in
      TensorRow(
        name: spec.name, shape: spec.shape,
        // A tied matrix may be stored under the head's name only.
        stored: (tensors.entry(spec.name) ?? tensors.entry(ParameterLayout.headName))?.type.rawValue ?? "-",
        quantized: quantized.contains(spec.name))
    }
    let sizes = MXFormat.all.map { FormatSize($0, layout, quantized: quantized) }
    let files = tensors.files.map(\.path)
    var head = description(of: model.configuration, path, title: "model folder")
    head.add(["stored", "\(files.count) file\(files.count == 1 ? "" : "s"), \(layout.all.count) tensors"])
    head.add([
      "quantized",
      "\(quantized.count) tensors, \(Figures.grouped(rows.quantizedCount)) weights if nothing else is selected",
    ])
    return Inspection(
      json: [
        "kind": "model folder", "path": .string(path), "model": description(of: model.configuration),
        "files": .array(files.map { .string($0) }), "sidecars": .array(model.sidecarNames.map { .string($0) }),
        "tensors": .array(rows.map(\.json)), "formats": .array(sizes.map(\.json)),
      ],
      text: head.plain + "\n" + TensorRow.table(rows, everyTensor: everyTensor).plain + "\n"
        + FormatSize.table(sizes, layout).plain)
  }

  static func anchor(_ path: String, everyTensor: Bool) throws -> Inspection {
    let model = try AnchorModel(path)
    let file = try TensorContainer(path)
    let layout = model.layout
    let quantized = Set(model.quantized.keys)
    let rows = layout.all.map { _, spec in
      TensorRow(
        name: spec.name, shape: spec.shape, stored: model.quantized[spec.name]?.name ?? StoredTensor.dense,
        quantized: quantized.contains(spec.name))
    }
    let cuts = model.formatsThatCanBeCut
    let sizes = cuts.map { FormatSize($0, layout, quantized: quantized) }
      + (model.mix.isMixed ? [FormatSize(model.mix.description, layout, formats: model.quantized)] : [])
    let planes = PlaneSize.all(of: file)
    let stored = file.manifest.files.reduce(0) { $0 + $1.size }
    var head = description(of: model.configuration, path, title: "anchor")
    let scales = model.scaleRule.map { "scales by the rule \($0.name)" } ?? "scales fitted by a solver"
    head.add(["format", "\(model.mix), \(scales)"])
    if model.mix.isMixed {
      for share in model.mix.shares {
        head.add(["", "\(share.format): \(share.tensors) tensors, \(Figures.grouped(share.weights)) weights"])
      }
    }
    head.add(["quantized", "\(quantized.count) tensors, \(Figures.grouped(rows.quantizedCount)) weights"])
    let files = file.manifest.files.count
    head.add([
      "stored", "\(files) data file\(files == 1 ? "" : "s"), \(Figures.bytes(stored)), \(file.tensors.count) tensors",
    ])
    head.add(["can be cut", cuts.isEmpty ? "nothing: use it as stored" : cuts.map(\.name).joined(separator: ", ")])
    for (index, member) in file.metadata.members.enumerated() {
      let value = member.1.string ?? String(decoding: member.1.serialized(), as: UTF8.self)
      head.add([index == 0 ? "made" : "", "\(member.0): \(value)"])
    }
    return Inspection(
      json: [
        "kind": "anchor", "path": .string(path), "model": description(of: model.configuration),
        "format": .string(model.mix.description), "scale_rule": .string(model.scales.name),
        "stored_formats": .array(
          model.mix.shares.map { share in
            [
              "format": .string(share.format.name), "tensors": .integer(share.tensors), "weights": .integer(share.weights),
            ]
          }),
        "stored_bytes": .integer(stored), "metadata": .object(file.metadata),
        "sidecars": .array(model.sidecarNames.map { .string($0) }), "planes": .array(planes.map(\.json)),
        "tensors": .array(rows.map(\.json)), "formats": .array(sizes.map(\.json)),
      ],
      text: head.plain + "\n" + PlaneSize.table(planes).plain + "\n"
        + TensorRow.table(rows, everyTensor: everyTensor).plain + "\n" + FormatSize.table(sizes, layout).plain)
  }

  private static func description(of c: ModelConfiguration, _ path: String, title: String) -> TextTable {
    var table = TextTable([.init(title), .init(path)])
    table.add(["architecture", c.architecture.className])
    table.add(["parameters", Figures.grouped(c.parameterCount)])
    table.add([
      "shape",
      "\(c.layerCount) layers of \(c.hiddenSize), feed-forward \(c.feedForwardSize), \(c.queryHeads) heads of "
        + "\(c.headDimension), \(c.keyHeads) for keys and values",
    ])
    let head = c.tiedHead ? "tied to the embedding" : "of its own"
    table.add(["vocabulary", "\(Figures.grouped(c.vocabularySize)), head \(head)"])
    table.add(["context", "\(Figures.grouped(c.contextLimit)) tokens"])
    return table
  }

  private static func description(of c: ModelConfiguration) -> JSONValue {
    [
      "architecture": .string(c.architecture.className), "parameters": .integer(c.parameterCount),
      "layers": .integer(c.layerCount), "hidden_size": .integer(c.hiddenSize),
      "feed_forward_size": .integer(c.feedForwardSize), "query_heads": .integer(c.queryHeads),
      "key_heads": .integer(c.keyHeads), "head_dimension": .integer(c.headDimension),
      "vocabulary": .integer(c.vocabularySize), "context": .integer(c.contextLimit), "tied_head": .bool(c.tiedHead),
    ]
  }
}

/// One tensor of a model, as stored and as it would be quantized.
private struct TensorRow {
  let name: String
  let shape: [Int]
  let stored: String
  let quantized: Bool

  var count: Int { shape.reduce(1, *) }

  var json: JSONValue {
    [
      "name": .string(name), "shape": .array(shape.map { .integer($0) }), "stored": .string(stored),
      "quantized": .bool(quantized),
    ]
  }

  /// Equal tensors of all layers share a line, unless every tensor is wanted.
  static func table(_ rows: [TensorRow], everyTensor: Bool) -> TextTable {
    var table = TextTable([
      .init("tensor"), .init("tensors", .right), .init("shape", .right), .init("stored"), .init("quantized"),
    ])
    var groups: [(pattern: String, first: TensorRow, count: Int)] = []
    for row in rows {
      let pattern = everyTensor ? row.name : Self.pattern(of: row.name)
      let found = groups.firstIndex { group in
        group.pattern == pattern && group.first.shape == row.shape && group.first.stored == row.stored
          && group.first.quantized == row.quantized
      }
      if let found { groups[found].count += 1 } else { groups.append((pattern, row, 1)) }
    }
    for group in groups {
      table.add([
        group.pattern, "\(group.count)", group.first.shape.map(String.init).joined(separator: " x "),
        group.first.stored,
        group.first.quantized ? "yes" : "no",
      ])
    }
    return table
  }

  /// `model.layers.3.mlp.up_proj.weight` without its number.
  private static func pattern(of name: String) -> String {
    name.split(separator: ".", omittingEmptySubsequences: false).map { part in
      part.allSatisfy { $0.isNumber } && !part.isEmpty ? "*" : String(part)
    }.joined(separator: ".")
  }
}

extension [TensorRow] {
  fileprivate var quantizedCount: Int { reduce(0) { $0 + ($1.quantized ? $1.count : 0) } }
}

/// Size of a model whose quantized tensors are in a format, densely packed, the others in fp32.
private struct FormatSize {
  let name: String
  let bitsPerWeight: Double
  let bitsPerParameter: Double
  let bytes: Int

  init(_ format: MXFormat, _ layout: ParameterLayout, quantized: Set<String>) {
    self.init(format.name, layout, formats: Dictionary(uniqueKeysWithValues: quantized.map { ($0, format) }))
  }

  init(_ name: String, _ layout: ParameterLayout, formats: [String: MXFormat]) {
    self.name = name
    (bitsPerWeight, bitsPerParameter) = FormattedWeights.bits(layout, formats: formats)
    bytes = Int((bitsPerParameter * Double(layout.elementCount) / 8).rounded())
  }

  var json: JSONValue {
    [
      "format": .string(name), "bits_per_weight": .number(bitsPerWeight),
      "bits_per_parameter": .number(bitsPerParameter), "bytes": .integer(bytes),
    ]
  }

  static func table(_ sizes: [FormatSize], _ layout: ParameterLayout) -> TextTable {
    var table = TextTable([
      .init("format"), .init("bits per weight", .right), .init("bits per parameter", .right), .init("size", .right),
    ])
    table.add(["fp32", "32.00", "32.00", Figures.bytes(4 * layout.elementCount)])
    for size in sizes {
      table.add([
        size.name, Figures.fixed(size.bitsPerWeight, 2), Figures.fixed(size.bitsPerParameter, 2),
        Figures.bytes(size.bytes),
      ])
    }
    return table
  }
}

/// All planes of one kind in an anchor, before and after compression.
struct PlaneSize {
  let kind: StoredPlane.Kind
  var content = 0
  var stored = 0

  static func all(of file: TensorContainer) -> [PlaneSize] {
    var sizes = StoredPlane.Kind.allCases.map { PlaneSize(kind: $0) }
    for plane in file.tensors.flatMap(\.pieces).flatMap(\.planes) {
      guard let index = sizes.firstIndex(where: { $0.kind == plane.kind }) else { continue }
      sizes[index].content += plane.size
      sizes[index].stored += plane.chunks.reduce(0) { $0 + $1.storedSize }
    }
    return sizes.filter { $0.content > 0 }
  }

  var share: Double { Double(stored) / Double(max(content, 1)) }

  var json: JSONValue {
    ["plane": .string(kind.rawValue), "content_bytes": .integer(content), "stored_bytes": .integer(stored)]
  }

  static func table(_ sizes: [PlaneSize]) -> TextTable {
    var table = TextTable([.init("plane"), .init("content", .right), .init("stored", .right), .init("share", .right)])
    for size in sizes {
      table.add([
        size.kind.rawValue, Figures.bytes(size.content), Figures.bytes(size.stored),
        Figures.fixed(100 * size.share, 1) + " %",
      ])
    }
    return table
  }
}
