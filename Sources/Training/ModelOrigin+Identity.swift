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
