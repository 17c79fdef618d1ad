import Checkpoints
import Reports
import Text
import Transformer

/// What `inspect` found: for machines and for people.
struct Inspection {
  var json: JSONValue
  var text: String

  static func tokenFile(_ path: String) throws -> Inspection {
    let file = try TokenFile(path)
    var table = TextTable([.init("token file"), .init(path)])
    table.add(["tokens", Figures.grouped(file.count)])
    table.add(["vocabulary", Figures.grouped(file.vocabularySize)])
    table.add(["stored", "\(file.width) bytes a token, \(Figures.bytes(128 + file.width * file.count))"])
    table.add(["tokenizer", file.tokenizerHash])
    table.add(["text", file.textHash])
    return Inspection(
      json: [
        "kind": "token file", "path": .string(path), "tokens": .integer(file.count),
        "vocabulary": .integer(file.vocabularySize), "bytes_per_id": .integer(file.width),
        "tokenizer_hash": .string(file.tokenizerHash), "text_hash": .string(file.textHash),
      ], text: table.plain)
  }

  static func checkpoint(_ path: String) throws -> Inspection {
    let container = try TensorContainer(path)
    let stored = container.manifest.files.reduce(0) { $0 + $1.size }, files = container.manifest.files.count
    let planes = PlaneSize.all(of: container)
    var table = TextTable([.init("training checkpoint"), .init(path)])
    table.add([
      "stored",
      "\(files) data file\(files == 1 ? "" : "s"), \(Figures.bytes(stored)), \(container.tensors.count) tensors",
    ])
    for (key, value) in container.metadata.members { table.add([key, inOneLine(value)]) }
    return Inspection(
      json: [
        "kind": "training checkpoint", "path": .string(path), "stored_bytes": .integer(stored),
        "metadata": .object(container.metadata), "tensors": .integer(container.tensors.count),
        "planes": .array(planes.map(\.json)),
      ], text: table.plain + "\n" + PlaneSize.table(planes).plain)
  }

  /// A text of many lines is a file of its own, and would hide the rest.
  private static func inOneLine(_ value: JSONValue) -> String {
    if let text = value.string {
      let lines = text.split(separator: "\n").count
      return lines > 1 ? "\(lines) lines, which --json shows" : text
    }
    guard let object = value.object else { return String(decoding: value.serialized(), as: UTF8.self) }
    return object.members.map { "\($0.replacing("_", with: " ")) \(inOneLine($1))" }.joined(separator: ", ")
  }

  static func run(_ path: String) throws -> Inspection {
    let models = PathContents.models(ofRun: path).map { contents in
      switch contents {
      case .anchor(let path), .checkpoint(let path), .folder(let path), .run(let path), .tokenFile(let path): path
      }
    }
    let hasMetrics = FileBytes.exists(path + "/" + RunSummary.metricsFile)
    let summary = hasMetrics ? try RunSummary(runDirectory: path) : nil
    var table = summary?.table ?? TextTable([.init("run"), .init(path)])
    for (index, model) in models.enumerated() { table.add([index == 0 ? "models" : "", model]) }
    if models.isEmpty { table.add(["models", "none yet"]) }
    return Inspection(
      json: [
        "kind": "run", "path": .string(path), "models": .array(models.map { .string($0) }),
        "summary": summary?.json ?? .null,
      ], text: table.plain)
  }
}
