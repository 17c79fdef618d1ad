import Checkpoints
public import Settings
public import Transformer

/// Where a run's model comes from, and the files that travel with it into checkpoints and the anchor.
public struct ModelOrigin {
  public let configuration: ModelConfiguration
  /// `config.json` (weights are written in fp32, and it says so), `tokenizer.json` and whatever else lay beside them.
  public let sidecars: [(name: String, bytes: [UInt8])]
  public let tokenizer: (path: String, bytes: [UInt8])
  /// Nil for a new model.
  public let source: (any ModelSource)?

  public init(_ settings: ModelSettings, open: (String) throws -> any ModelSource) throws {
    let tokenizerName = HuggingFaceFolder.tokenizerFile, configurationName = HuggingFaceFolder.configurationFile
    var sidecars: [(name: String, bytes: [UInt8])]
    if let path = settings.path {
      let source = try open(path)
      self.source = source
      configuration = source.configuration
      sidecars = try source.travellingSidecars()
    } else {
      guard let mapping = settings.config else {
        preconditionFailure("settings with neither model.path nor model.config")
      }
      source = nil
      let json = Array(mapping.json.utf8), name = "model.config"
      configuration = try ModelConfiguration(json: json, source: name)
      sidecars = [(configurationName, try ConfigurationText.inFloat32(json, source: name))]
    }
    var tokenizerPath = (settings.path ?? "") + "/" + tokenizerName
    if let folder = settings.tokenizer {
      tokenizerPath = FileBytes.isDirectory(folder) ? folder + "/" + tokenizerName : folder
      sidecars.removeAll { $0.name == tokenizerName }
      sidecars.append((tokenizerName, try FileBytes.read(tokenizerPath)))
    }
    guard let tokenizer = sidecars.first(where: { $0.name == tokenizerName }) else {
      throw ModelError(
        settings.path ?? "model.config", "there is no \(tokenizerName)",
        hint: "Name a folder that holds one with model.tokenizer.")
    }
    self.tokenizer = (tokenizerPath, tokenizer.bytes)
    self.sidecars = sidecars.filter { $0.name == configurationName } + sidecars.filter { $0.name != configurationName }
  }
}
