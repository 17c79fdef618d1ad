import Checkpoints
import Transformer

/// What a resumed run needs unchanged of the model it once began with.
extension ModelOrigin {
  /// "tokenizer.json 0f3a…; teacher 99c1…": hashes of the tokenizer and, if the run distills, of the teacher's weights.
  ///
  /// The starting weights of a run without a teacher are not among them: its checkpoint holds what has become of them.
  ///
  /// - Parameter distills: costs a read of every file of the teacher's weights, at the speed of the disk: the root
  ///   alone asks. Of a container only the manifest is read, which has the hashes of all it holds, and reading the container
  ///   checks them.
  package func identity(distills: Bool) throws -> String {
    var parts = ["tokenizer.json \(ContentHash(tokenizer.bytes))"]
    if distills, let source { parts.append("teacher \(try WeightIdentity.of(source.path))") }
    return parts.joined(separator: "; ")
  }
}

/// XXH3-128 that tells the weights at a path from all others.
enum WeightIdentity {
  /// Sizes and headers are those of another model soon enough: a fine-tuned one is as long to the byte. So weight files
  /// are hashed whole.
  static func of(_ path: String) throws(CheckpointError) -> ContentHash {
    let hasWeightFiles = [ModelFolderTensors.singleFile, ModelFolderTensors.indexFile].contains {
      FileBytes.exists(path + "/" + $0)
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
