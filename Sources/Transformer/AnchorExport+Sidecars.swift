import Checkpoints

/// Edits of `config.json` that leave the rest of it, its order included, as it was.
public enum ConfigurationText {
  /// The same configuration stating fp32 weights; the same bytes where it does already. transformers 4 reads
  /// `torch_dtype`, version 5 also `dtype`: each is changed where it stands.
  public static func inFloat32(_ json: [UInt8], source: String) throws -> [UInt8] {
    guard var object = try JSONScanner.parse(json, path: source).object else {
      throw ModelError(source, "not a model configuration: no object")
    }
    let keys = ["dtype", "torch_dtype"].filter { object[$0] != nil }
    let wanted = JSONValue.string("float32")
    if !keys.isEmpty && keys.allSatisfy({ object[$0] == wanted }) { return json }
    for key in keys.isEmpty ? ["torch_dtype"] : keys { object[key] = wanted }
    return JSONValue.object(object).serialized(order: .given, indent: 2) + [0x0A]
  }
}

extension ModelSource {
  /// The files that go with the weights into another container of fp32 values: each byte for byte, `config.json` with
  /// its dtype changed. A manifest and hashes describe what they lie beside only and stay behind.
  public func travellingSidecars() throws -> [(name: String, bytes: [UInt8])] {
    try sidecarNames.filter { $0 != ContainerManifest.fileName && $0 != FolderHashes.fileName }.map { name in
      let bytes = try sidecar(name)
      return (name, name == Self.configurationFile
        ? try ConfigurationText.inFloat32(bytes, source: path + "/" + name) : bytes)
    }
  }
}
