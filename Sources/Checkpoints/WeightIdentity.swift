/// XXH3-128 that tells the weights at a path from all others.
public enum WeightIdentity {
  /// Sizes and headers are those of another model soon enough: a fine-tuned one is as long to the byte. So weight files
  /// are hashed whole.
  public static func of(_ path: String) throws(CheckpointError) -> ContentHash {
    let hasWeightFiles = [ModelFolderTensors.singleFile, ModelFolderTensors.indexFile].contains {
      Directories.kind(of: path + "/" + $0) != .absent
    }
    guard hasWeightFiles || !TensorContainer.isContainer(path) else {
      return try ContentHash.ofFile(path + "/" + ContainerManifest.fileName)
    }
    var hashes: [ContentHash] = []
    for file in try ModelFolderTensors(path).files { hashes.append(try ContentHash.ofFile(file.path)) }
    return hashes.count == 1
      ? hashes[0] : ContentHash(Array(hashes.map(\.description).joined(separator: "\n").utf8))
  }
}
