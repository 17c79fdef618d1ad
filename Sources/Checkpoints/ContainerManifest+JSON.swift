// The JSON of the manifest: canonical form (sorted keys, no white space), with the hash of the canonical form of
// everything else under "hash". A manifest that is not in canonical form is refused, so every changed bit shows.

extension ContainerManifest {
  /// A manifest of more bytes is refused by writers and readers.
  static let byteLimit = 256 << 20

  /// The bytes of `manifest.json`.
  var serialized: [UInt8] {
    var object = JSONObject()
    object["container_version"] = .integer(Self.version)
    switch kind {
    case .anchor(let format, let scaleRule):
      object["format"] = .string(format)
      object["scale_rule"] = .string(scaleRule)
      object["scale_format"] = "e8m0"
      object["block"] = ["size": .integer(StoredTensor.blockSize), "axis": "columns"]
    case .checkpoint:
      object["kind"] = .string(kind.name)
    }
    object["metadata"] = .object(metadata)
    object["sidecars"] = .array(sidecars.map(\.json))
    object["files"] = .array(contents.files.map(\.json))
    object["tensors"] = .array(contents.tensors.map(\.json))
    object["hash"] = .string(ContentHash(JSONValue.object(object).serialized()).description)
    return JSONValue.object(object).serialized()
  }

  static let limits = JSONScanner.Limits(bytes: byteLimit, values: byteLimit / 8)

  /// For a text of some length: no manifest has a value every eight bytes, and none may cost many times its own size.
  private static func limits(for bytes: [UInt8]) -> JSONScanner.Limits {
    .init(bytes: byteLimit, values: 100 + bytes.count / 8)
  }

  /// The kind that the manifest in `directory` claims, whatever else is wrong with it: `checkpoint`, or `anchor` where it
  /// says nothing, or nothing that can be read.
  public static func claimedKind(in directory: String) -> String {
    let value = try? JSONScanner.parse(file: Directories.join(directory, fileName), limits: limits)
    return value?["kind"]?.string == ContainerKind.checkpoint.name ? ContainerKind.checkpoint.name : "anchor"
  }

  /// Reads, in this order: canonical form, hash, version, fields. Structure is checked by `validate`.
  init(_ bytes: [UInt8], path: String) throws(CheckpointError) {
    let reader = FieldReader(path: path)
    let damaged = "The manifest was changed or damaged after it was written: use another copy"
    let value = try JSONScanner.parse(bytes, path: path, limits: Self.limits(for: bytes))
    guard var object = value.object else { throw reader.refuse("an object", value.kind) }
    guard value.serialized() == bytes else {
      throw reader.refuse("canonical JSON", "another form of the same text", hint: damaged)
    }
    let version = try reader.count(object["container_version"], "container_version")
    guard version == Self.version else {
      throw reader.refuse(
        "container version \(Self.version)", "\(version)", hint: "Use a version of this program that reads it"
      ).because(.version)
    }
    let stored = try reader.hash(object["hash"], "hash")
    object["hash"] = nil
    let actual = ContentHash(JSONValue.object(object).serialized())
    guard stored == actual else {
      throw reader.refuse("hash \(stored)", "\(actual)", hint: damaged)
    }
    kind = try ContainerKind(object, reader)
    guard let metadata = object["metadata"]?.object else { throw reader.refuse("an object \"metadata\"", "none") }
    self.metadata = metadata
    sidecars = try reader.list(object["sidecars"], "sidecars") { value throws(CheckpointError) in
      try StoredFile(value, reader)
    }
    contents = try ContainerPart(.object(object), reader)
  }
}

extension ContainerKind {
  /// An anchor says nothing of its kind.
  fileprivate init(_ object: JSONObject, _ reader: FieldReader) throws(CheckpointError) {
    if let kind = object["kind"] {
      try reader.require(kind, "kind", .string(Self.checkpoint.name))
      self = .checkpoint
      return
    }
    try reader.require(object["scale_format"], "scale_format", "e8m0")
    try reader.require(object["block"]?["size"], "block.size", .integer(StoredTensor.blockSize))
    try reader.require(object["block"]?["axis"], "block.axis", "columns")
    self = .anchor(
      format: try reader.text(object["format"], "format"), scaleRule: try reader.text(object["scale_rule"], "scale_rule"))
  }
}

extension ContainerPart {
  /// For sending a part to the rank that writes the manifest.
  public var json: [UInt8] {
    let value: JSONValue = ["files": .array(files.map(\.json)), "tensors": .array(tensors.map(\.json))]
    return value.serialized()
  }

  /// The inverse of `json`. Structure is checked when the manifest is made.
  public init(json: [UInt8]) throws(CheckpointError) {
    try self.init(try JSONScanner.parse(json, limits: ContainerManifest.limits), FieldReader(path: "a part of a container"))
  }

  fileprivate init(_ value: JSONValue, _ reader: FieldReader) throws(CheckpointError) {
    files = try reader.list(value["files"], "files") { value throws(CheckpointError) in
      try StoredFile(value, reader)
    }
    tensors = try reader.list(value["tensors"], "tensors") { value throws(CheckpointError) in
      try StoredTensor(value, reader)
    }
  }
}

extension StoredFile {
  fileprivate var json: JSONValue {
    ["name": .string(name), "size": .integer(size), "hash": .string(hash.description)]
  }

  fileprivate init(_ value: JSONValue, _ reader: FieldReader) throws(CheckpointError) {
    name = try reader.text(value["name"], "name")
    size = try reader.count(value["size"], "size")
    hash = try reader.hash(value["hash"], "hash")
  }
}

extension StoredTensor {
  fileprivate var json: JSONValue {
    [
      "name": .string(name), "shape": .array(shape.dimensions.map { .integer($0) }), "format": .string(format),
      "pieces": .array(pieces.map(\.json)),
    ]
  }

  fileprivate init(_ value: JSONValue, _ reader: FieldReader) throws(CheckpointError) {
    let name = try reader.text(value["name"], "name")
    let reader = reader.within(tensor: name)
    let dimensions = try reader.list(value["shape"], "shape") { value throws(CheckpointError) in
      try reader.count(value, "a dimension")
    }
    guard let shape = TensorShape(dimensions) else {
      throw reader.refuse("a shape of at most 2^48 elements", "\(dimensions)")
    }
    self.name = name
    self.shape = shape
    format = try reader.text(value["format"], "format")
    pieces = try reader.list(value["pieces"], "pieces") { value throws(CheckpointError) in
      try StoredPiece(value, reader)
    }
  }
}

extension StoredPiece {
  fileprivate var json: JSONValue {
    ["row_start": .integer(rowStart), "rows": .integer(rows), "planes": .array(planes.map(\.json))]
  }

  fileprivate init(_ value: JSONValue, _ reader: FieldReader) throws(CheckpointError) {
    rowStart = try reader.count(value["row_start"], "row_start")
    rows = try reader.count(value["rows"], "rows")
    planes = try reader.list(value["planes"], "planes") { value throws(CheckpointError) in
      try StoredPlane(value, reader)
    }
  }
}

extension StoredPlane {
  fileprivate var json: JSONValue {
    [
      "plane": .string(kind.rawValue), "size": .integer(size), "hash": .string(hash.description),
      "chunks": .array(chunks.map(\.json)),
    ]
  }

  fileprivate init(_ value: JSONValue, _ reader: FieldReader) throws(CheckpointError) {
    let name = try reader.text(value["plane"], "plane")
    guard let kind = Kind(rawValue: name) else {
      throw reader.refuse("one of \(Kind.allCases.map(\.rawValue).joined(separator: ", "))", "plane \"\(name)\"")
    }
    self.kind = kind
    size = try reader.count(value["size"], "size")
    hash = try reader.hash(value["hash"], "hash")
    chunks = try reader.list(value["chunks"], "chunks") { value throws(CheckpointError) in
      try StoredChunk(value, reader)
    }
  }
}

extension StoredChunk {
  fileprivate var json: JSONValue {
    [
      "file": .integer(file), "offset": .integer(offset), "stored": .integer(storedSize), "start": .integer(start),
      "size": .integer(size), "hash": .string(hash.description), "raw": .bool(isRaw),
    ]
  }

  fileprivate init(_ value: JSONValue, _ reader: FieldReader) throws(CheckpointError) {
    file = try reader.count(value["file"], "file")
    offset = try reader.count(value["offset"], "offset")
    storedSize = try reader.count(value["stored"], "stored")
    start = try reader.count(value["start"], "start")
    size = try reader.count(value["size"], "size")
    hash = try reader.hash(value["hash"], "hash")
    guard let isRaw = value["raw"]?.bool else { throw reader.refuse("a boolean \"raw\"", "none") }
    self.isRaw = isRaw
  }
}

/// Typed access to the fields of a manifest or of hashes, with the place in every error.
struct FieldReader {
  let path: String
  var operation = "use the manifest"
  var tensor: String? = nil

  func within(tensor: String) -> FieldReader { FieldReader(path: path, operation: operation, tensor: tensor) }

  func refuse(_ expected: String, _ found: String, hint: String? = nil) -> CheckpointError {
    CheckpointError(operation, path: path, tensor: tensor, expected: expected, found: found, hint: hint)
  }

  /// An integer from 0 to 2^62: sums of two cannot overflow.
  func count(_ value: JSONValue?, _ key: String) throws(CheckpointError) -> Int {
    guard let number = value?.integer, number >= 0, number <= 1 << 62 else {
      throw refuse(
        "a count for \"\(key)\"",
        value.map { printable(String(decoding: $0.serialized(), as: UTF8.self), limit: 60) } ?? "none")
    }
    return number
  }

  func text(_ value: JSONValue?, _ key: String) throws(CheckpointError) -> String {
    guard let text = value?.string else { throw refuse("a string \"\(key)\"", value?.kind ?? "none") }
    return text
  }

  func hash(_ value: JSONValue?, _ key: String) throws(CheckpointError) -> ContentHash {
    guard let hash = ContentHash(hex: try text(value, key)) else {
      throw refuse("32 hexadecimal digits for \"\(key)\"", "another string")
    }
    return hash
  }

  func require(_ value: JSONValue?, _ key: String, _ wanted: JSONValue) throws(CheckpointError) {
    guard value == wanted else {
      throw refuse(
        "\(key) \(String(decoding: wanted.serialized(), as: UTF8.self))",
        value.map { printable(String(decoding: $0.serialized(), as: UTF8.self), limit: 60) } ?? "none")
    }
  }

  func list<Element>(
    _ value: JSONValue?, _ key: String, _ element: (JSONValue) throws(CheckpointError) -> Element
  ) throws(CheckpointError) -> [Element] {
    guard let values = value?.array else { throw refuse("an array \"\(key)\"", value?.kind ?? "none") }
    var elements: [Element] = []
    elements.reserveCapacity(values.count)
    for value in values { elements.append(try element(value)) }
    return elements
  }
}
