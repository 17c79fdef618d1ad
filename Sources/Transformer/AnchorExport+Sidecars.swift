import Checkpoints
public import Quantization

/// Edits of `config.json` that leave the rest of it, its order included, as it was.
public enum ConfigurationText {
  /// The same configuration stating fp32 weights; the same bytes where it does already. transformers 4 reads
  /// `torch_dtype`, version 5 also `dtype`: each is changed where it stands.
  public static func inFloat32(_ json: [UInt8], source: String) throws -> [UInt8] {
    try edited(json, source) { object in
      let keys = ["dtype", "torch_dtype"].filter { object[$0] != nil }
      for key in keys.isEmpty ? ["torch_dtype"] : keys { object[key] = "float32" }
    }
  }

  /// The same configuration with these online rotations; without the key where there are none.
  public static func stating(_ transforms: OnlineTransforms, in json: [UInt8], source: String) throws -> [UInt8] {
    // Not `nil`, which as a JSON value is null.
    let value = transforms.isEmpty ? JSONValue?.none : transforms.json
    return try edited(json, source) { $0[OnlineTransforms.configurationKey] = value }
  }

  /// The same configuration, its head the embedding's matrix or one of its own.
  public static func stating(tiedHead: Bool, in json: [UInt8], source: String) throws -> [UInt8] {
    try edited(json, source) { $0["tie_word_embeddings"] = .bool(tiedHead) }
  }

  /// The same bytes where the edit changes nothing.
  private static func edited(
    _ json: [UInt8], _ source: String, _ edit: (inout JSONObject) -> Void
  ) throws -> [UInt8] {
    guard let before = try JSONScanner.parse(json, path: source).object else {
      throw ModelError(source, "not a model configuration: no object")
    }
    var object = before
    edit(&object)
    return object == before ? json : JSONValue.object(object).serialized(order: .given, indent: 2) + [0x0A]
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
