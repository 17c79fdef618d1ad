// The JSON of hashes.json: canonical form, with the hash of everything else under "hash", as a container's manifest.

extension FolderHashes {
  /// The bytes of `hashes.json`.
  public var serialized: [UInt8] {
    var object = JSONObject()
    object["version"] = .integer(Self.version)
    object["files"] = .array(files.map(\.json))
    object["tensors"] = .array(tensors.map(\.json))
    object["hash"] = .string(ContentHash(JSONValue.object(object).serialized()).description)
    return JSONValue.object(object).serialized()
  }

  /// Reads, in this order: canonical form, hash, version, fields, structure.
  init(_ bytes: [UInt8], path: String) throws(CheckpointError) {
    let reader = FieldReader(path: path, operation: "use the hashes")
    let value = try JSONScanner.parse(bytes, path: path, limits: .init(bytes: Self.sizeLimit))
    guard var object = value.object else { throw reader.refuse("an object", value.kind, hint: Self.hint) }
    guard value.serialized() == bytes else {
      throw reader.refuse("canonical JSON", "another form of the same text", hint: Self.hint)
    }
    let stored = try reader.hash(object["hash"], "hash")
    object["hash"] = nil
    let actual = ContentHash(JSONValue.object(object).serialized())
    guard stored == actual else { throw reader.refuse("hash \(stored)", "\(actual)", hint: Self.hint) }
    let version = try reader.count(object["version"], "version")
    guard version == Self.version else {
      throw reader.refuse("version \(Self.version)", "\(version)", hint: "Use a version of this program that reads it")
    }
    self.init(
      files: try reader.list(object["files"], "files") { value throws(CheckpointError) in try File(value, reader) },
      tensors: try reader.list(object["tensors"], "tensors") { value throws(CheckpointError) in
        try Tensor(value, reader)
      })
    try validate(reader)
  }

  /// Afterwards holds: names of files are plain, unique and not that of the hashes; each tensor is there once, in a
  /// file of the list, behind its header and within its size; no two share a byte, so no sum of sizes overflows.
  private func validate(_ reader: FieldReader) throws(CheckpointError) {
    var known: [ExactKey: File] = [:]
    for file in files {
      guard Directories.isPlainName(file.name), file.name != Self.fileName else {
        throw reader.refuse("names of other files inside the folder", "\"\(file.name)\"")
      }
      guard known.updateValue(file, forKey: ExactKey(file.name)) == nil else {
        throw reader.refuse("each file once", "\"\(file.name)\" twice")
      }
      if let header = file.header, header.size > file.size {
        throw reader.refuse("a header within \(file.name) of \(file.size) bytes", "\(header.size)")
      }
    }
    var names: Set<ExactKey> = []
    for tensor in tensors {
      let reader = reader.within(tensor: tensor.name)
      guard names.insert(ExactKey(tensor.name)).inserted else { throw reader.refuse("each tensor once", "two") }
      guard let file = known[ExactKey(tensor.file)], let header = file.header else {
        throw reader.refuse("a file with a header", "\"\(tensor.file)\"")
      }
      guard tensor.bytes.lowerBound >= header.size, tensor.bytes.upperBound <= file.size else {
        throw reader.refuse(
          "bytes within \(header.size)..<\(file.size) of \(file.name)",
          "\(tensor.bytes.lowerBound)..<\(tensor.bytes.upperBound)")
      }
    }
    for (_, tensors) in Dictionary(grouping: tensors, by: { ExactKey($0.file) }) {
      let byPlace = tensors.sorted {
        ($0.bytes.lowerBound, $0.bytes.upperBound) < ($1.bytes.lowerBound, $1.bytes.upperBound)
      }
      for (a, b) in zip(byPlace, byPlace.dropFirst()) where a.bytes.upperBound > b.bytes.lowerBound {
        throw reader.within(tensor: b.name).refuse(
          "bytes from \(a.bytes.upperBound) on", "an overlap with \"\(a.name)\"")
      }
    }
  }
}

extension FolderHashes.File {
  fileprivate var json: JSONValue {
    var object = JSONObject()
    object["name"] = .string(name)
    object["size"] = .integer(size)
    object["hash"] = .string(hash.description)
    if let header {
      object["header"] = ["size": .integer(header.size), "hash": .string(header.hash.description)]
    }
    return .object(object)
  }

  fileprivate init(_ value: JSONValue, _ reader: FieldReader) throws(CheckpointError) {
    name = try reader.text(value["name"], "name")
    size = try reader.count(value["size"], "size")
    hash = try reader.hash(value["hash"], "hash")
    if let stored = value["header"] {
      header = FolderHashes.Header(
        size: try reader.count(stored["size"], "header.size"), hash: try reader.hash(stored["hash"], "header.hash"))
    }
  }
}

extension FolderHashes.Tensor {
  fileprivate var json: JSONValue {
    [
      "name": .string(name), "file": .string(file),
      "bytes": [.integer(bytes.lowerBound), .integer(bytes.upperBound)], "hash": .string(hash.description),
    ]
  }

  fileprivate init(_ value: JSONValue, _ reader: FieldReader) throws(CheckpointError) {
    let name = try reader.text(value["name"], "name")
    let reader = reader.within(tensor: name)
    let ends = try reader.list(value["bytes"], "bytes") { value throws(CheckpointError) in
      try reader.count(value, "bytes")
    }
    guard ends.count == 2, ends[0] <= ends[1] else {
      throw reader.refuse("two ascending \"bytes\"", "\(ends.prefix(3))")
    }
    self.name = name
    bytes = ends[0]..<ends[1]
    file = try reader.text(value["file"], "file")
    hash = try reader.hash(value["hash"], "hash")
  }
}
