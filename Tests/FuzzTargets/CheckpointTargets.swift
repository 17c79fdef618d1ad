import Checkpoints

/// The readers of `Checkpoints`.
enum CheckpointTargets {
  /// Values that a target reads of one tensor: a file of a few bytes may rightly claim empty tensors of 2^48 rows.
  private static let readLimit = 1 << 20

  static func safetensors(_ input: [UInt8]) throws {
    let folder = FuzzFolder()
    guard let file = try? SafeTensorsFile(folder.write(input, "model.safetensors")) else { return }
    var end = file.entries.first?.bytes.lowerBound ?? input.count
    for entry in file.entries {
      try Inconsistency.check(
        entry.bytes.lowerBound == end && entry.bytes.count * 8 == entry.shape.count * entry.type.bits,
        "\(entry.name): \(entry.bytes) of \(entry.shape)")
      end = entry.bytes.upperBound
      try Inconsistency.check(try file.readBytes(entry.name).count == entry.bytes.count, "\(entry.name): bytes")
      if entry.type.isReadable {
        try Inconsistency.check(try file.read(entry.name).count == entry.shape.count, "\(entry.name): values")
      } else {
        try Inconsistency.check((try? file.read(entry.name)) == nil, "\(entry.name): \(entry.type) read as values")
      }
    }
    try Inconsistency.check(end == input.count, "data up to \(end) of \(input.count)")
  }

  static func modelIndex(_ input: [UInt8]) throws {
    let folder = FuzzFolder()
    for (name, bytes) in FuzzFixture.shards { folder.write(bytes, name) }
    folder.write(input, ModelFolderTensors.indexFile)
    guard let model = try? ModelFolderTensors(folder.path) else { return }
    // Whatever an index says, what it leads to is in the shards.
    try Inconsistency.check(Set(model.names).isSubset(of: FuzzFixture.shardTensors), "\(model.names)")
    for name in model.names { _ = try model.read(name) }
  }

  static func manifest(_ input: [UInt8]) throws {
    let folder = FuzzFolder()
    for (name, bytes) in FuzzFixture.container where name != ContainerManifest.fileName { folder.write(bytes, name) }
    // As it came: only the one manifest that was written may be accepted under a hash that the input brought along.
    folder.write(input, ContainerManifest.fileName)
    if let container = try? TensorContainer(folder.path) { try read(container) }
    // With its hash right.
    guard var object = (try? JSONScanner.parse(input))?.object else { return }
    object["hash"] = nil
    object["hash"] = .string(ContentHash(JSONValue.object(object).serialized()).description)
    folder.write(JSONValue.object(object).serialized(), ContainerManifest.fileName)
    guard let container = try? TensorContainer(folder.path) else { return }
    try read(container)
    _ = try container.verify()
  }

  static func dataFile(_ input: [UInt8]) throws {
    let folder = FuzzFolder()
    for (name, bytes) in FuzzFixture.container { folder.write(bytes, name) }
    let original = FuzzFixture.container[FuzzFixture.dataFile]!
    // A file of another size is refused when the container is opened.
    folder.write(input, FuzzFixture.dataFile)
    let opened = try? TensorContainer(folder.path)
    try Inconsistency.check((opened != nil) == (input.count == original.count), "\(input.count) bytes opened")
    if let table = try? SeekTable(path: folder(FuzzFixture.dataFile)) {
      let size = table.entries.reduce(table.bytes.count) { $0 + Int($1.storedSize) }
      try Inconsistency.check(size == input.count, "a seek table of \(size) bytes in \(input.count)")
      try Inconsistency.check(input.suffix(table.bytes.count) == table.bytes[...], "a seek table of other bytes")
    }
    // Brought to that size, the table kept at the end.
    var sized = Array(input.suffix(original.count))
    while sized.count < original.count { sized.append(0) }
    folder.write(sized, FuzzFixture.dataFile)
    let container = try TensorContainer(folder.path)
    let problems = try container.verify()
    try Inconsistency.check(problems.isEmpty == (sized == original), "\(problems.count) problems")
    for tensor in container.tensors {
      // Reading is refused, or gives what was written.
      guard let hashes = try? container.contentHashes(tensor.name) else { continue }
      let isOriginal = hashes == FuzzFixture.contentHashes[tensor.name]
      try Inconsistency.check(isOriginal, "\(tensor.name) reads as something else")
    }
    try partOfContainer(input)
  }

  /// What ranks send each other: refused, or the same after a round trip.
  private static func partOfContainer(_ input: [UInt8]) throws {
    guard let part = try? ContainerPart(json: input) else { return }
    try Inconsistency.check(try ContainerPart(json: part.json) == part, "a part of a container is not stable")
  }

  static func json(_ input: [UInt8]) throws {
    guard let value = try? JSONScanner.parse(input) else { return }
    let canonical = value.serialized()
    try Inconsistency.check(try JSONScanner.parse(canonical).serialized() == canonical, "no stable canonical form")
    let indented = try JSONScanner.parse(value.serialized(order: .given, indent: 2))
    try Inconsistency.check(indented.serialized() == canonical, "another value when indented")
    let limits = JSONScanner.Limits(bytes: 1 << 16, depth: 3, values: 8)
    if let small = try? JSONScanner.parse(input, limits: limits) {
      try Inconsistency.check(small == value && depth(small) <= 3, "another value under limits")
    }
    try partOfContainer(input)
  }

  private static func depth(_ value: JSONValue) -> Int {
    switch value {
    case .array(let elements): 1 + (elements.map(depth).max() ?? 0)
    case .object(let object): 1 + (object.values.map(depth).max() ?? 0)
    default: 0
    }
  }

  /// Every tensor of a container as far as `readLimit` goes.
  private static func read(_ container: TensorContainer) throws {
    for tensor in container.tensors where tensor.shape.rows > 0 {
      let rowLimit = readLimit / max(tensor.shape.columns, 1)
      let rows = 0..<min(tensor.shape.rows, rowLimit)
      let count = rows.count * tensor.shape.columns
      if tensor.isDense {
        var values = [Float](repeating: 0, count: count)
        var span = values.mutableSpan
        try? container.readDense(tensor.name, rows: rows, into: &span)
      } else {
        var codes = [UInt8](repeating: 0, count: count)
        var scales = [UInt8](repeating: 0, count: rows.count * tensor.blocksPerRow)
        var codeSpan = codes.mutableSpan, scaleSpan = scales.mutableSpan
        try? container.readPacked(tensor.name, rows: rows, codes: &codeSpan, scales: &scaleSpan)
      }
    }
    for file in container.manifest.sidecars { _ = try? container.sidecar(file.name) }
  }
}
