import Checkpoints

/// Finds out what lies at a path and opens it: what the command line calls SOURCE.
public enum ModelSources {
  /// What a path holds.
  public enum Kind: Sendable, Hashable {
    case huggingFaceFolder, anchor, checkpoint
    /// A run; its model lies at the path given.
    case run(model: String)
  }

  /// Opens a Hugging Face folder, an anchor, a training checkpoint, or what a run directory has made: its
  /// anchor, else the checkpoint `latest` points to, else the newest under `checkpoints`.
  ///
  /// - Parameter note: gets one sentence where there was a choice.
  public static func open(_ path: String, note: (String) -> Void = { _ in }) throws -> any ModelSource {
    switch try kind(of: path) {
    case .huggingFaceFolder: return try HuggingFaceFolder(path)
    case .anchor: return try AnchorModel(path)
    case .checkpoint: return try CheckpointModel(path)
    case .run(let model):
      note("\(path) is a run directory: using \(model)")
      return try open(model)
    }
  }

  public static func kind(of path: String) throws(ModelError) -> Kind {
    guard FileBytes.exists(path) else { throw ModelError(path, "there is no such file or folder", hint: expected) }
    guard FileBytes.isDirectory(path) else {
      throw ModelError(path, "this is a file, a folder is expected",
        hint: "Give the folder that holds it. " + expected)
    }
    if isWeightFolder(path) { return .huggingFaceFolder }
    // Opening it again says what is wrong with one that cannot be opened.
    if TensorContainer.isContainer(path) { return (try? TensorContainer(path))?.kind == .checkpoint ? .checkpoint : .anchor }
    // Opening it says which file of the weights is missing.
    if FileBytes.exists(path + "/config.json") { return .huggingFaceFolder }
    if let model = model(ofRun: path) { return .run(model: model) }
    let names = FileBytes.names(in: path)
    let found = names.isEmpty ? "the folder is empty" : "it holds \(names.prefix(6).joined(separator: ", "))"
      + (names.count > 6 ? " and \(names.count - 6) more" : "")
    throw ModelError(path, "no model: \(found)", hint: expected)
  }

  private static let expected = "Expected: a Hugging Face folder (config.json and \(ModelFolderTensors.singleFile) or "
    + "\(ModelFolderTensors.indexFile)), an anchor or a checkpoint (\(ContainerManifest.fileName)), or a run directory (anchor/, latest or "
    + "checkpoints/)."

  private static func isWeightFolder(_ path: String) -> Bool {
    FileBytes.exists(path + "/" + ModelFolderTensors.singleFile)
      || FileBytes.exists(path + "/" + ModelFolderTensors.indexFile)
  }

  private static func isModel(_ path: String) -> Bool { isWeightFolder(path) || TensorContainer.isContainer(path) }

  private static func model(ofRun path: String) -> String? {
    let fixed = [path + "/anchor", path + "/latest"]
    if let model = fixed.first(where: isModel) { return model }
    let marks = FileBytes.names(in: path + "/checkpoints").compactMap { StepMark(name: $0) }
    return marks.sorted(by: >).map { path + "/checkpoints/" + $0.name }.first(where: isModel)
  }
}
