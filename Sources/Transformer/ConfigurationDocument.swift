public import Checkpoints

/// `config.json` as a document: everything in it is kept, known to this project or not.
public enum ConfigurationDocument {
  /// The same configuration for weights stored in fp32, whichever of the two spellings it uses.
  public static func storedInFloat32(_ json: [UInt8]) throws(CheckpointError) -> [UInt8] {
    var document = try JSONScanner.parse(json).object ?? JSONObject()
    for key in ["dtype", "torch_dtype"] where document[key] != nil { document[key] = "float32" }
    if document["dtype"] == nil && document["torch_dtype"] == nil { document["dtype"] = "float32" }
    return JSONValue.object(document).serialized(order: .given, indent: 2) + [0x0A]
  }
}
