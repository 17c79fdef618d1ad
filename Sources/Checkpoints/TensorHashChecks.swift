import Synchronization

/// The hashes of a folder while its tensors are read: each tensor is checked in full before its first value is given.
final class TensorHashChecks: Sendable {
  private let tensors: [ExactKey: FolderHashes.Tensor]
  private let checked = Mutex<Set<ExactKey>>([])

  /// Checked here: that the folder's safetensors files have the sizes and headers, and hold the tensors, that were
  /// hashed.
  init(folder: String, files: [SafeTensorsFile]) throws(CheckpointError) {
    let path = Directories.join(folder, FolderHashes.fileName)
    let hashes = try FolderHashes(folder: folder)
    func refuse(
      _ file: SafeTensorsFile, _ expected: String, _ found: String, _ tensor: String? = nil
    ) -> CheckpointError {
      CheckpointError(
        "use", path: file.path, tensor: tensor, expected: expected + " as \(FolderHashes.fileName) says", found: found,
        hint: FolderHashes.hint)
    }
    var listed: [ExactKey: FolderHashes.File] = [:], tensors: [ExactKey: FolderHashes.Tensor] = [:]
    for file in hashes.files { listed[ExactKey(file.name)] = file }
    for tensor in hashes.tensors { tensors[ExactKey(tensor.name)] = tensor }
    var count = 0
    for file in files {
      guard let stored = listed[ExactKey(Directories.lastName(of: file.path))], let header = stored.header else {
        throw refuse(file, "another file", "this one")
      }
      guard file.size == stored.size else { throw refuse(file, "\(stored.size) bytes", "\(file.size)") }
      let found = try file.contentHash(of: 0..<header.size)
      guard found == header.hash else { throw refuse(file, "a header of hash \(header.hash)", "\(found)") }
      for entry in file.entries {
        guard let tensor = tensors[ExactKey(entry.name)] else { throw refuse(file, "no such tensor", "it", entry.name) }
        guard ExactKey(tensor.file) == ExactKey(stored.name), tensor.bytes == entry.bytes else {
          throw refuse(
            file, "bytes \(tensor.bytes.lowerBound)..<\(tensor.bytes.upperBound) of \(tensor.file)",
            "bytes \(entry.bytes.lowerBound)..<\(entry.bytes.upperBound)", entry.name)
        }
        count += 1
      }
    }
    guard count == tensors.count else {
      throw CheckpointError(
        "use the hashes", path: path, expected: "\(tensors.count) tensors in the folder", found: "\(count)",
        hint: FolderHashes.hint)
    }
    self.tensors = tensors
  }

  /// Before a tensor is read: two threads may both check it the first time.
  func require(_ name: String, in file: SafeTensorsFile) throws(CheckpointError) {
    let key = ExactKey(name)
    guard let tensor = tensors[key], !checked.withLock({ $0.contains(key) }) else { return }
    let found = try file.contentHash(of: tensor.bytes)
    guard found == tensor.hash else {
      throw CheckpointError(
        "read", path: file.path, tensor: name, offset: tensor.bytes.lowerBound,
        expected: "content hash \(tensor.hash) of bytes \(tensor.bytes.lowerBound)..<\(tensor.bytes.upperBound)",
        found: "\(found)", hint: FolderHashes.hint)
    }
    _ = checked.withLock { $0.insert(key) }
  }
}
