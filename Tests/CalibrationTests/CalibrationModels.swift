import Calibration
import Checkpoints
import Communication
import Formats
import Foundation
import Kernels
import Tensors
import Testing
import Text
import Transformer

/// Tiny random models as folders on disk, and calibrations of them.
extension ReparameterisationModel {
  /// 320 rows of gate and up are three tiles of rows, 64 of o are less than one.
  static let shared = ReparameterisationModel(
    name: "llama, tied, D 64, 4 heads on 2", className: "LlamaForCausalLM",
    changes: [
      "hidden_size": 64, "intermediate_size": 160,
      "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    ], flags: ["tie_word_embeddings": true])

  /// What whole calibrations run on: tied and untied heads, shared heads, biases, norms of q and k, D = 96.
  static let calibrated: [ReparameterisationModel] = [
    shared, llama,
    ReparameterisationModel(
      name: "qwen3, untied, D 80", className: "Qwen3ForCausalLM",
      changes: [
        "hidden_size": 80, "intermediate_size": 112, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
      ]),
    ReparameterisationModel(
      name: "qwen2 with biases, tied, D 96", className: "Qwen2ForCausalLM",
      changes: ["hidden_size": 96, "intermediate_size": 176, "num_attention_heads": 6, "num_key_value_heads": 3],
      flags: ["tie_word_embeddings": true]),
  ]

  /// Writes `config.json` and random weights.
  ///
  /// - Parameter edit: changes the values of a tensor before they are written.
  func write(
    to folder: String, seed: UInt64 = 1, edit: (_ name: String, _ values: inout [Float]) -> Void = { _, _ in }
  ) throws {
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try json().write(to: URL(fileURLWithPath: folder + "/config.json"))
    let parameters = Parameters(try configuration(), in: Arena("model on disk"))
    parameters.fillRandomly(seed: seed)
    let writer = try SafeTensorsWriter(
      folder + "/model.safetensors", tensors: parameters.layout.all.map { .init($0.spec.name, .f32, $0.spec.shape) })
    for (unit, spec) in parameters.layout.all {
      var values = parameters.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns).floats()
      edit(spec.name, &values)
      try writer.append(spec.name, values.span)
    }
    try writer.commit()
  }
}

/// A folder that goes away with its owner.
final class CalibrationScratch: Sendable {
  let path: String

  init() throws {
    // In memory where there is such a place: every unit is synchronized with its disk, hundreds of times here.
    let memory = URL(fileURLWithPath: "/dev/shm")
    let parent =
      FileManager.default.isWritableFile(atPath: memory.path) ? memory : FileManager.default.temporaryDirectory
    let folder = parent.appendingPathComponent("calibrations-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    path = folder.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func callAsFunction(_ name: String) -> String { path + "/" + name }

  /// A model's folder in here.
  func model(_ model: ReparameterisationModel, _ name: String = "model", seed: UInt64 = 1) throws -> String {
    try model.write(to: self(name), seed: seed)
    return self(name)
  }
}

enum Calibrating {
  /// Sequences of random tokens of the tiny models' vocabulary.
  static func sample(
    sequences: Int = 3, context: Int = 16, tokens: Int = 512, seed: UInt64 = 0
  ) throws -> CalibrationSample {
    let random = CounterRandom(seed: 3, stream: "calibration text")
    let ids = (0..<tokens).map { Int32(random.integer(UInt64($0), below: 61)) }
    return try CalibrationSample(.memory(ids), count: sequences, context: context, seed: seed)
  }

  static func settings(_ method: String, _ format: MXFormat = .mxint4) throws -> CalibrationSettings {
    var settings = CalibrationSettings(try CalibrationMethod(method), format: format)
    settings.signSeed = settings.method.rotation == .quaRot ? 5 : nil
    return settings
  }

  /// A calibration of the model in `folder` on threads that stand for ranks; the root's record.
  @discardableResult
  static func run(
    _ folder: String, _ settings: CalibrationSettings, _ sample: CalibrationSample?, ranks: Int = 1, out: String,
    report: @escaping @Sendable (CalibrationProgress) -> Void = { _ in }
  ) throws -> CalibrationRecord {
    try Communicator.onThreads(ranks) { communicator in
      try CalibrationRun(ModelSources.open(folder), settings, sample: sample, on: communicator, report: report)
        .run(out: out)
    }[0]
  }

  /// Every file of an anchor, by its path inside.
  static func files(of anchor: String) throws -> [String: Checkpoints.ContentHash] {
    var files: [String: Checkpoints.ContentHash] = [:]
    for name in try FileManager.default.subpathsOfDirectory(atPath: anchor) {
      var isFolder: ObjCBool = false
      guard FileManager.default.fileExists(atPath: anchor + "/" + name, isDirectory: &isFolder), !isFolder.boolValue
      else { continue }
      files[name] = Checkpoints.ContentHash(Array(try Data(contentsOf: URL(fileURLWithPath: anchor + "/" + name))))
    }
    return files
  }

  /// The model in `path`, cut to `format` where one is named.
  static func load(_ path: String, as format: MXFormat? = nil, in arena: Arena = Arena("model")) throws -> Parameters {
    let source = try ModelSources.open(path), parameters = Parameters(source.configuration, in: arena)
    try source.load(into: parameters, as: format)
    return parameters
  }

  /// One tensor of the model in `path`.
  static func tensor(_ name: String, of path: String) throws -> [Float] {
    let source = try ModelSources.open(path)
    let spec = try #require(ParameterLayout(source.configuration).all.first { $0.spec.name == name }).spec
    var values = [Float](repeating: 0, count: spec.count)
    var span = values.mutableSpan
    try source.read(spec, rows: 0..<spec.rows, into: &span)
    return values
  }

  /// Expects an error whose words hold all of `words`.
  static func refused(
    _ words: String..., sourceLocation: SourceLocation = #_sourceLocation, by body: () throws -> Void
  ) {
    do {
      try body()
      Issue.record("nothing was refused", sourceLocation: sourceLocation)
    } catch {
      for word in words { #expect("\(error)".contains(word), "\(error)", sourceLocation: sourceLocation) }
    }
  }
}
