import Checkpoints
import Foundation

/// The files that stand beside a fuzzed one, from `Tests/Corpus/fixtures`. They are kept as bytes and not written anew:
/// the sizes of compressed frames depend on the version of libzstd, and the corpus names them.
enum FuzzFixture {
  /// A small anchor: several frames, raw and compressed, two writers, a sidecar.
  static let container = files("container")
  /// Two shards of a model folder.
  static let shards = files("shards")
  static let shardTensors: Set<String> = ["a", "b", "c"]
  /// The data file of the container that the target of that name replaces.
  static let dataFile = "data-00000-00000.zst"

  /// Of the container as it was written.
  static let contentHashes: [String: [StoredPlane.Kind: ContentHash]] = {
    let folder = FuzzFolder()
    for (name, bytes) in container { folder.write(bytes, name) }
    guard let original = try? TensorContainer(folder.path) else { fatalError("the fixture is no container") }
    var hashes: [String: [StoredPlane.Kind: ContentHash]] = [:]
    for tensor in original.tensors { hashes[tensor.name] = try? original.contentHashes(tensor.name) }
    return hashes
  }()

  private static func files(_ name: String) -> [String: [UInt8]] {
    let folder = FuzzCorpus.folder.appendingPathComponent("fixtures").appendingPathComponent(name)
    var files: [String: [UInt8]] = [:]
    for file in (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? [] {
      files[file] = (try? Data(contentsOf: folder.appendingPathComponent(file))).map { [UInt8]($0) }
    }
    guard !files.isEmpty else { fatalError("\(folder.path) is missing: launch/fuzz --corpus writes it") }
    return files
  }
}
