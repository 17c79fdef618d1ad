import Checkpoints
import Kernels
import Reports
import Tensors
import Text
import Training
import Transformer

/// What `verify` found out about one thing.
struct Verification {
  struct Problem {
    var message: String
    var tensor: String?
  }

  let path: String
  let kind: String
  /// What was checked and holds.
  var summary = ""
  var problems: [Problem] = []

  var json: JSONValue {
    [
      "path": .string(path), "kind": .string(kind), "ok": .bool(problems.isEmpty),
      "problems": .array(problems.map {
        ["tensor": $0.tensor.map { .string($0) } ?? .null, "message": .string($0.message)]
      }),
    ]
  }

  /// - Parameter progress: bytes read, and bytes in all.
  static func check(_ contents: PathContents, progress: (Int, Int) -> Void) -> Verification {
    switch contents {
    case .anchor(let path): anchor(path, progress)
    case .folder(let path): folder(path, progress)
    case .tokenFile(let path): tokenFile(path)
    case .run(let path): preconditionFailure("the run \(path) is verified by its parts")
    }
  }

  private static func anchor(_ path: String, _ progress: (Int, Int) -> Void) -> Verification {
    var result = Verification(path: path, kind: "anchor")
    result.problems = TensorContainer.verify(path, progress: progress).map { problem in
      Problem(message: problem.description, tensor: problem.tensor)
    }
    guard result.problems.isEmpty else { return result }
    // The bytes are those that were written; they must also be a model.
    result.attempt { result in
      let model = try AnchorModel(path)
      let bytes = try TensorContainer(path).manifest.files.reduce(0) { $0 + $1.size }
      result.summary = "anchor in \(model.format), \(model.layout.all.count) tensors, \(Figures.bytes(bytes)): "
        + "every checksum holds"
    }
    return result
  }

  private static func tokenFile(_ path: String) -> Verification {
    var result = Verification(path: path, kind: "token file")
    result.attempt { result in
      let file = try TokenFile(path)
      try file.verify()
      result.summary = "token file, \(Figures.grouped(file.count)) tokens: the checksum holds, every id is in the "
        + "vocabulary"
    }
    return result
  }

  private static func folder(_ path: String, _ progress: (Int, Int) -> Void) -> Verification {
    var result = Verification(path: path, kind: "model folder")
    result.attempt { result in
      let model = try HuggingFaceFolder(path)
      let layout = ParameterLayout(model.configuration)
      let widest = layout.all.map(\.spec.columns).max() ?? 1
      var values = Tensor(rows: 1, columns: max(1 << 20, widest), in: Arena("verification"))
      let total = 4 * layout.elementCount
      var done = 0
      for (_, spec) in layout.all {
        if let place = try firstUnusable(spec, in: model, &values) {
          result.problems.append(Problem(message: "tensor '\(spec.name)': \(place)", tensor: spec.name))
        }
        done += 4 * spec.count
        progress(done, total)
      }
      let sizes = "\(layout.all.count) tensors, \(Figures.grouped(layout.elementCount)) parameters"
      do {
        result.summary = "model folder, \(sizes): structure and shapes hold, every weight is finite "
          + "(safetensors has no checksums)"
      }
    }
    return result
  }

  /// Where the first weight of a tensor is that is no finite number.
  private static func firstUnusable(
    _ spec: ParameterSpec, in model: HuggingFaceFolder, _ values: inout Tensor
  ) throws -> String? {
    let step = max(1, values.count / spec.columns)
    for first in stride(from: 0, to: spec.rows, by: step) {
      let rows = first..<min(first + step, spec.rows)
      var part = values.region(0, rows: rows.count, columns: spec.columns)
      do {
        var span = part.mutableSpan
        try model.read(spec, rows: rows, into: &span)
      }
      if part.isFinite { continue }
      let span = part.span
      for index in span.indices where !span[index].isFinite {
        return "\(span[index]) at row \(first + index / spec.columns), column \(index % spec.columns)"
      }
    }
    return nil
  }

  /// Turns an error into a problem.
  private mutating func attempt(_ work: (inout Verification) throws -> Void) {
    do {
      try work(&self)
    } catch {
      problems.append(Problem(message: "\(error)", tensor: (error as? CheckpointError)?.tensor))
    }
  }
}
