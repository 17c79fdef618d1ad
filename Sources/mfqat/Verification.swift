import Checkpoints
import Kernels
import Reports
import Tensors
import Text
import Transformer

/// What `verify` found out about one thing.
struct Verification {
  struct Problem {
    var message: String
    var tensor: String?
    var file: String?
    /// Of the file.
    var bytes: Range<Int>?

    var json: JSONValue {
      [
        "tensor": tensor.map { .string($0) } ?? .null, "file": file.map { .string($0) } ?? .null,
        "bytes": bytes.map { [.integer($0.lowerBound), .integer($0.upperBound)] } ?? .null,
        "message": .string(message),
      ]
    }
  }

  let path: String
  let kind: String
  /// What was checked and holds.
  var summary = ""
  var problems: [Problem] = []

  var json: JSONValue {
    [
      "path": .string(path), "kind": .string(kind), "ok": .bool(problems.isEmpty),
      "problems": .array(problems.map(\.json)),
    ]
  }

  /// - Parameter progress: bytes read, and bytes in all.
  static func check(_ contents: PathContents, progress: (Int, Int) -> Void) -> Verification {
    switch contents {
    case .anchor(let path): anchor(path, progress)
    case .checkpoint(let path): checkpoint(path, progress)
    case .folder(let path): folder(path, progress)
    case .tokenFile(let path): tokenFile(path)
    case .run(let path): preconditionFailure("the run \(path) is verified by its parts")
    }
  }

  private static func anchor(_ path: String, _ progress: (Int, Int) -> Void) -> Verification {
    var result = Verification(path: path, kind: "anchor")
    result.problems = TensorContainer.verify(path, progress: progress).map(Problem.init)
    guard result.problems.isEmpty else { return result }
    // The bytes are those that were written; they must also be a model.
    result.attempt { result in
      let model = try AnchorModel(path)
      let bytes = try TensorContainer(path).manifest.files.reduce(0) { $0 + $1.size }
      result.summary = "anchor in \(model.mix), \(model.layout.all.count) tensors, \(Figures.bytes(bytes)): "
        + "every checksum holds"
    }
    return result
  }

  private static func checkpoint(_ path: String, _ progress: (Int, Int) -> Void) -> Verification {
    var result = Verification(path: path, kind: "training checkpoint")
    result.problems = TensorContainer.verify(path, progress: progress).map(Problem.init)
    guard result.problems.isEmpty else { return result }
    result.attempt { result in
      let container = try TensorContainer(path)
      let bytes = container.manifest.files.reduce(0) { $0 + $1.size }
      let step = container.metadata["step"]?.integer.map { " of step \(Figures.grouped($0))" } ?? ""
      result.summary = "training checkpoint\(step), \(container.tensors.count) tensors, \(Figures.bytes(bytes)): "
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
    let hasHashes = FolderHashes.arePresent(in: path)
    var hashed = 0
    if hasHashes {
      result.problems = FolderHashes.verify(path) { done, total in
        hashed = total
        progress(done, total)
      }.map(Problem.init)
      guard result.problems.isEmpty else { return result }
    }
    result.attempt { result in
      let model = try HuggingFaceFolder(path, isVerified: true)
      let layout = ParameterLayout(model.configuration)
      result.problems = try unusableWeights(in: model, layout) { progress(hashed + $0, hashed + $1) }
      let sizes = "\(layout.all.count) tensors, \(Figures.grouped(layout.elementCount)) parameters"
      result.summary = "model folder, \(sizes): "
        + (hasHashes
          ? "every checksum holds, every weight is finite"
          : "structure and shapes hold, every weight is finite (there are no checksums: no \(FolderHashes.fileName))")
    }
    return result
  }

  /// The tensors of which not every value is a finite number that can be read.
  private static func unusableWeights(
    in model: HuggingFaceFolder, _ layout: ParameterLayout, _ progress: (Int, Int) -> Void
  ) throws -> [Problem] {
    let specs = layout.all.map(\.spec)
    let widest = specs.map(\.columns).max() ?? 1
    return try ParallelWork.map(
      weights: specs.map(\.count), threads: ParallelWork.processors, total: 4 * layout.elementCount,
      progress: progress, worker: { ValueBuffer(elements: max(1 << 20, widest)) }
    ) { buffer, index, advance in
      let spec = specs[index]
      defer { advance(4 * spec.count) }
      do {
        return try firstUnusable(spec, in: model, &buffer.values).map { place in
          Problem(message: "tensor '\(spec.name)': \(place)", tensor: spec.name)
        }
      } catch {
        return Problem(error, tensor: spec.name)
      }
    }.compactMap(\.self)
  }

  /// What a thread reads values into.
  private final class ValueBuffer {
    var values: Tensor

    init(elements: Int) { values = Tensor(rows: 1, columns: elements, in: Arena("verification")) }
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
      problems.append(Problem(error))
    }
  }
}

extension Verification.Problem {
  init(_ problem: ContainerProblem) {
    self.init(
      message: problem.description, tensor: problem.tensor, file: problem.file, bytes: problem.range)
  }

  /// - Parameter tensor: that was being read, where the error does not say.
  init(_ error: any Error, tensor: String? = nil) {
    let known = error as? CheckpointError
    self.init(message: "\(error)", tensor: known?.tensor ?? tensor, file: known?.path)
  }
}
