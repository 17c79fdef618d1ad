/// The tensors of a Hugging Face model folder: `model.safetensors`, or `model.safetensors.index.json` and its shards.
///
/// Where both exist `model.safetensors` is taken, as transformers does. Each tensor must be in the shard the index
/// names, in no other, and every tensor of a shard must be in the index. Where the folder has hashes (`FolderHashes`),
/// each tensor is checked against its own before its first value is given.
public final class ModelFolderTensors: Sendable {
  public let folder: String
  /// One file, or the shards in the order the index first names them.
  public let files: [SafeTensorsFile]
  /// All names in order of files and data.
  public let names: [String]
  /// `__metadata__` of all files; where keys meet, the first file's value. Tied tensors stored once may be named here.
  public let metadata: [String: String]
  private let holders: [String: Int]
  private let checks: TensorHashChecks?

  public static let singleFile = "model.safetensors"
  public static let indexFile = "model.safetensors.index.json"

  /// - Parameter isVerified: the bytes have just been compared with the folder's hashes, and are not again.
  public init(_ folder: String, isVerified: Bool = false) throws(CheckpointError) {
    let single = Directories.join(folder, Self.singleFile), index = Directories.join(folder, Self.indexFile)
    if Directories.kind(of: single) == .file {
      files = [try SafeTensorsFile(single)]
    } else if Directories.kind(of: index) == .file {
      files = try Self.shards(of: folder, index: index)
    } else {
      let hasPickle = Directories.kind(of: Directories.join(folder, "pytorch_model.bin")) == .file
      throw CheckpointError(
        "read the model folder", path: folder, expected: "\(Self.singleFile) or \(Self.indexFile)", found: "neither",
        hint: hasPickle ? "pytorch_model.bin is not read: convert it to safetensors" : "Check the path")
    }
    var names: [String] = [], metadata: [String: String] = [:], holders: [String: Int] = [:]
    for (position, file) in files.enumerated() {
      metadata.merge(file.metadata) { first, _ in first }
      for entry in file.entries {
        names.append(entry.name)
        holders[entry.name] = position
      }
    }
    let checks = FolderHashes.arePresent(in: folder) ? try TensorHashChecks(folder: folder, files: files) : nil
    self.checks = isVerified ? nil : checks
    self.folder = folder
    self.names = names
    self.metadata = metadata
    self.holders = holders
  }

  private static func shards(of folder: String, index path: String) throws(CheckpointError) -> [SafeTensorsFile] {
    func refuse(_ expected: String, _ found: String, tensor: String? = nil, hint: String? = nil) -> CheckpointError {
      CheckpointError("use the shard index", path: path, tensor: tensor, expected: expected, found: found, hint: hint)
    }
    guard let map = try JSONScanner.parse(file: path)["weight_map"]?.object else {
      throw refuse("an object \"weight_map\"", "none")
    }
    var shardNames: [String] = [], positions: [String: Int] = [:]
    var named: [String: Int] = [:]
    for (tensor, value) in map.members {
      guard let shard = value.string, Directories.isPlainName(shard) else {
        throw refuse(
          "the name of a file in the same folder",
          String(decoding: value.serialized(), as: UTF8.self), tensor: tensor)
      }
      if positions[shard] == nil {
        positions[shard] = shardNames.count
        shardNames.append(shard)
      }
      named[tensor] = positions[shard]
    }

    var files: [SafeTensorsFile] = []
    for shard in shardNames {
      let shardPath = Directories.join(folder, shard)
      guard Directories.kind(of: shardPath) != .absent else {
        throw refuse("the shard \(shard)", "no such file", hint: "The folder is incomplete: copy the missing shard")
      }
      files.append(try SafeTensorsFile(shardPath))
    }
    var seen: [String: Int] = [:]
    for (position, file) in files.enumerated() {
      for entry in file.entries {
        if let other = seen.updateValue(position, forKey: entry.name) {
          throw refuse(
            "each tensor in one shard", "it in \(shardNames[other]) and \(shardNames[position])", tensor: entry.name)
        }
      }
    }
    for (tensor, _) in map.members {
      let position = named[tensor]!
      guard let actual = seen[tensor] else {
        throw refuse("it in \(shardNames[position])", "it in no shard", tensor: tensor)
      }
      guard actual == position else {
        throw refuse("it in \(shardNames[position])", "it in \(shardNames[actual])", tensor: tensor)
      }
    }
    for (position, file) in files.enumerated() {
      if let entry = file.entries.first(where: { named[$0.name] == nil }) {
        throw refuse("every tensor of \(shardNames[position])", "no mention of it", tensor: entry.name)
      }
    }
    return files
  }

  public func entry(_ name: String) -> SafeTensorsEntry? { holders[name].flatMap { files[$0].entry(name) } }

  public func requireEntry(_ name: String) throws(CheckpointError) -> SafeTensorsEntry {
    try holder(name).requireEntry(name)
  }

  private func holder(_ name: String) throws(CheckpointError) -> SafeTensorsFile {
    guard let position = holders[name] else {
      throw CheckpointError(
        "read", path: folder, tensor: name, expected: "a tensor of that name", found: "\(names.count) others")
    }
    return files[position]
  }

  /// The file to read values of `name` from.
  private func checkedHolder(_ name: String) throws(CheckpointError) -> SafeTensorsFile {
    let file = try holder(name)
    try checks?.require(name, in: file)
    return file
  }

  /// As `SafeTensorsFile.read`.
  public func read(
    _ name: String, rows: Range<Int>, into destination: inout MutableSpan<Float>
  ) throws(CheckpointError) {
    try checkedHolder(name).read(name, rows: rows, into: &destination)
  }

  public func read(
    _ name: String, elements: Range<Int>, into destination: inout MutableSpan<Float>
  ) throws(CheckpointError) {
    try checkedHolder(name).read(name, elements: elements, into: &destination)
  }

  public func read(_ name: String, into destination: inout MutableSpan<Float>) throws(CheckpointError) {
    try checkedHolder(name).read(name, into: &destination)
  }

  public func read(_ name: String) throws(CheckpointError) -> [Float] { try checkedHolder(name).read(name) }
}
