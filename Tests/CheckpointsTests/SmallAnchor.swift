import Checkpoints
import Testing

/// A small anchor with everything a large one has: several chunks a plane, pieces from two writers, raw and compressed
/// frames, row tails, an empty tensor, sidecars, metadata. Its values are functions of the index.
struct SmallAnchor {
  struct Packed {
    let name: String, format: String, rows: Int, columns: Int
    let codes: [UInt8], scales: [UInt8]
    var blocks: Int { (columns + 31) / 32 }

    init(_ name: String, _ format: String, rows: Int, columns: Int, seed: UInt64, below: UInt64) {
      self.name = name
      self.format = format
      self.rows = rows
      self.columns = columns
      codes = bytes(rows * columns, seed: seed, below: below)
      scales = bytes(rows * ((columns + 31) / 32), seed: seed + 1, below: 4).map { $0 + 118 }
    }
  }

  struct Dense {
    let name: String, shape: [Int], values: [Float]
  }

  let packed = [
    Packed("layers.0.q.weight", "mxint8", rows: 24, columns: 80, seed: 1, below: 256),
    Packed("layers.0.up.weight", "mxfp4", rows: 9, columns: 33, seed: 2, below: 16),
    Packed("layers.0.tall.weight", "mxint4", rows: 40, columns: 1, seed: 5, below: 16),
    Packed("layers.0.wide.weight", "mxfp8_e4m3", rows: 2, columns: 1500, seed: 3, below: 127),
  ]
  let dense = [
    Dense(name: "embed.weight", shape: [50, 17], values: weights(850, seed: 7)),
    Dense(name: "norm.weight", shape: [64], values: [Float](repeating: 1, count: 64)),
    Dense(
      name: "special", shape: [5], values: [.nan, -0.0, .infinity, .leastNonzeroMagnitude, -.greatestFiniteMagnitude]),
    Dense(name: "none", shape: [0, 8], values: []),
    Dense(name: "scalar", shape: [], values: [42]),
  ]
  let sidecars: [(String, [UInt8])] = [
    ("config.json", Array(#"{"model_type":"llama"}"#.utf8)), ("tokenizer.json", Array("{}".utf8)), ("LICENSE", []),
  ]
  static let metadata: JSONObject = {
    let value: JSONValue = ["step": 500, "loss": 2.25, "tokens": .integer(1 << 60), "note": "naïve\n"]
    return value.object!
  }()

  /// Writes it to `directory`, rows in uneven calls, the last rows of the first tensor by a second writer.
  func write(_ directory: String, options: ContainerOptions = .init(chunkBytes: 512, fileByteLimit: 6000)) throws {
    let writer = try ContainerWriter(
      directory: directory, format: "mxint8", scaleRule: "floor", metadata: Self.metadata, options: options)
    let other = ContainerPartWriter(directory: writer.temporary, writer: 1, options: options)
    for (index, tensor) in packed.enumerated() {
      let split = index == 0 ? 16 : tensor.rows
      var row = 0, step = 1
      while row < tensor.rows {
        let end = min(row + step, row < split ? split : tensor.rows)
        let codes = tensor.codes.span.extracting(row * tensor.columns..<end * tensor.columns)
        let scales = tensor.scales.span.extracting(row * tensor.blocks..<end * tensor.blocks)
        if row < split {
          try writer.addPacked(
            name: tensor.name, shape: [tensor.rows, tensor.columns], format: tensor.format, rows: row..<end,
            codes: codes, scales: scales)
        } else {
          try other.addPacked(
            name: tensor.name, shape: [tensor.rows, tensor.columns], format: tensor.format, rows: row..<end,
            codes: codes, scales: scales)
        }
        row = end
        step = step % 5 + 2
      }
    }
    for tensor in dense { try writer.addDense(name: tensor.name, shape: tensor.shape, values: tensor.values.span) }
    for (name, bytes) in sidecars { try writer.addSidecar(name: name, bytes: bytes) }
    let part = try ContainerPart(json: other.finish().json)
    writer.add(part)
    try writer.commit(verifying: true)
  }

  /// What the anchor in `directory` says differently from what was written; throws what it refuses.
  func differences(_ directory: String) throws -> [String] {
    let anchor = try TensorContainer(directory)
    var differences: [String] = []
    for tensor in packed {
      var codes = [UInt8](repeating: 0, count: tensor.codes.count)
      var scales = [UInt8](repeating: 0, count: tensor.scales.count)
      var codeSpan = codes.mutableSpan, scaleSpan = scales.mutableSpan
      try anchor.readPacked(tensor.name, rows: 0..<tensor.rows, codes: &codeSpan, scales: &scaleSpan)
      if codes != tensor.codes || scales != tensor.scales { differences.append(tensor.name) }
      if anchor.tensor(tensor.name)?.format != tensor.format { differences.append(tensor.name + " format") }
    }
    for tensor in dense {
      var values = [Float](repeating: 0, count: tensor.values.count)
      var span = values.mutableSpan
      try anchor.readDense(tensor.name, into: &span)
      if values.map(\.bitPattern) != tensor.values.map(\.bitPattern) { differences.append(tensor.name) }
    }
    for (name, bytes) in sidecars where try anchor.sidecar(name) != bytes { differences.append(name) }
    if anchor.metadata["step"] != 500 || anchor.metadata["tokens"]?.integer != 1 << 60 { differences.append("metadata") }
    if anchor.kind != .anchor(format: "mxint8", scaleRule: "floor") { differences.append("kind") }
    return differences
  }
}
