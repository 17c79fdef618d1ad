import Checkpoints
import Communication
import Foundation
import Glibc
import Settings
import Tensors
import Testing
import Text
import Training
import Transformer

/// A folder with everything a small run needs, written by the test and removed with it: a model, its tokenizer, texts.
final class RunPlace: Sendable {
  let path: String

  /// - Parameter path: where to make it; a temporary folder unless given.
  init(
    vocabulary: Int = 264, tied: Bool = true, at path: String? = nil,
    edit: (inout [Float], ParameterSpec) -> Void = { _, _ in }
  ) throws {
    self.path = path ?? Self.parent + "/run-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: self("model"), withIntermediateDirectories: true)
    try write(Self.configuration(vocabulary: vocabulary, tied: tied), "model/config.json")
    try write(Self.tokenizer, "model/tokenizer.json")
    try write(#"{"temperature": 0.5}"#, "model/generation_config.json")
    try writeWeights(edit)
    try write(Self.text(seed: 1, words: 1200), "train.txt")
    try write(Self.text(seed: 2, words: 120), "valid.txt")
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// In memory where that can be: runs wait for the disk whenever they save.
  static let parent =
    FileManager.default.isWritableFile(atPath: "/dev/shm") ? "/dev/shm" : FileManager.default.temporaryDirectory.path

  func callAsFunction(_ name: String) -> String { path + "/" + name }

  func write(_ text: String, _ name: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: self(name))) }

  func bytes(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: self(name)))) }

  func text(_ name: String) throws -> String { String(decoding: try bytes(name), as: UTF8.self) }

  func names(_ name: String) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: self(name))) ?? []).sorted()
  }

  func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: self(name)) }

  func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: self(name)) }

  /// Changes one bit of a file, in its middle unless told where.
  func damage(_ name: String, byte: Int? = nil) throws {
    var bytes = try bytes(name)
    bytes[byte ?? bytes.count / 2] ^= 0x10
    try Data(bytes).write(to: URL(fileURLWithPath: self(name)))
  }

  // MARK: What is in it

  static func configuration(vocabulary: Int, tied: Bool = true) -> String {
    """
    {"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 2,
     "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": \(vocabulary), "max_position_embeddings": 64,
     "rms_norm_eps": 1e-5, "tie_word_embeddings": \(tied), "torch_dtype": "bfloat16"}
    """
  }

  private func writeWeights(_ edit: (inout [Float], ParameterSpec) -> Void) throws {
    let configuration = try ModelConfiguration(json: bytes("model/config.json"), source: "test")
    let layout = ParameterLayout(configuration)
    let initialization = Initialization(seed: 5, standardDeviation: 0.05)
    let writer = try SafeTensorsWriter(
      self("model/model.safetensors"), tensors: layout.all.map { .init($0.spec.name, .f32, $0.spec.shape) })
    for (_, spec) in layout.all {
      var values = [Float](repeating: 0, count: spec.count)
      var span = values.mutableSpan
      initialization.fill(&span, at: 0, rows: 0..<spec.rows, of: spec)
      edit(&values, spec)
      try writer.append(spec.name, values.span)
    }
    try writer.commit()
  }

  /// Byte-level BPE: the 256 bytes and five merges, 261 tokens.
  static let tokenizer: String = {
    var next: UInt32 = 0x100
    let bytes = (UInt32(0)...255).map { byte -> String in
      if (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte) {
        return String(Unicode.Scalar(byte)!)
      }
      defer { next += 1 }
      return String(Unicode.Scalar(next)!)
    }
    let merges = [("a", "n"), ("t", "o"), ("Ġ", "to"), ("m", "i"), ("an", "d")]
    func quoted(_ text: String) -> String {
      "\"" + text.unicodeScalars.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined() + "\""
    }
    let tokens = bytes + merges.map { $0.0 + $0.1 }
    let vocabulary = tokens.enumerated().map { "\(quoted($0.element)):\($0.offset)" }.joined(separator: ",")
    return """
      {"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
      "post_processor":null,"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{\(vocabulary)},
      "merges":[\(merges.map { "[\(quoted($0.0)),\(quoted($0.1))]" }.joined(separator: ","))]}}
      """
  }()

  /// Words of a small language with some order in it.
  static func text(seed: UInt64, words: Int) -> String {
    let random = CounterRandom(seed: seed, stream: "test text")
    let known = ["and", "to", "mina", "tomi", "sees", "a", "red", "man", "on", "the", "hill", "rain"]
    var text = "", last = 0
    for i in 0..<words {
      last = (last * 3 + 1 + Int(random.integer(UInt64(i), below: 3))) % known.count
      text += (i == 0 ? "" : " ") + known[last]
    }
    return text + "\n"
  }

  // MARK: Runs of it

  /// A run in `directory`; `overrides` as after `--set`.
  func settings(_ directory: String = "run", _ overrides: [String] = []) throws -> RunConfiguration {
    try RunConfiguration(yaml: yaml(directory), file: "test.yaml", overrides: overrides)
  }

  func yaml(_ directory: String) -> String {
    """
    model: {path: \(self("model"))}
    data: {train: [\(self("train.txt"))], validation: [\(self("valid.txt"))], context: 16}
    quantization: {formats: [mxint2, mxint4, mxint8], evaluate_formats: [mxint8, mxint3]}
    training: {steps: 6, batch: 12, lanes: 12, learning_rate: 3.0e-3, warmup_steps: 1, seed: 7}
    checkpoint: {every: 3, keep: 9}
    logging: {directory: \(self(directory)), validate_every: 3}
    """
  }

  /// Settings of a model that is made from its configuration alone.
  func pretraining(_ directory: String, _ overrides: [String] = []) throws -> RunConfiguration {
    try RunConfiguration(
      yaml: """
        model: {config: \(Self.configuration(vocabulary: 264)), tokenizer: \(self("model"))}
        data: {train: [\(self("train.txt"))], context: 16}
        training: {steps: 6, batch: 12, lanes: 12, learning_rate: 3.0e-3, warmup_steps: 1, seed: 7}
        checkpoint: {every: 3, keep: 9}
        logging: {directory: \(self(directory))}
        """, file: "test.yaml", overrides: overrides)
  }

  /// What a run leaves that is killed while it writes the line of `step` + 1, its newest checkpoint being of `step`: a
  /// torn line and half a checkpoint.
  func crash(_ directory: String, after step: Int) throws {
    for name in names(directory + "/checkpoints") where Int(name.dropFirst(5))! > step {
      try remove(directory + "/checkpoints/" + name)
    }
    if exists(directory + "/anchor") { try remove(directory + "/anchor") }
    var metrics = try bytes(directory + "/metrics.jsonl")
    metrics.removeLast(20)
    try Data(metrics).write(to: URL(fileURLWithPath: self(directory + "/metrics.jsonl")))
    let half = directory + "/checkpoints/step-000099.tmp-dead"
    try FileManager.default.createDirectory(atPath: self(half), withIntermediateDirectories: true)
    try write("half", half + "/data-00000-00000.zst")
  }

  /// Everything about the steps in a run's metrics that must not depend on ranks, machine load or time, as text.
  func metrics(_ directory: String) throws -> [String] {
    try text(directory + "/metrics.jsonl").split(separator: "\n").filter { !$0.contains("\"checkpoint\":") }.map { line in
      line.range(of: ",\"tokens_per_second\"").map { String(line[..<$0.lowerBound]) } ?? String(line)
    }
  }

  // MARK: Checkpoints of it

  private func checkpoint(_ directory: String, _ step: Int) throws -> TensorContainer {
    try TensorContainer(self("\(directory)/checkpoints/\(TrainingCheckpointName.of(step: step))"))
  }

  /// What a checkpoint says, however it is cut and compressed: hashes of every tensor's planes and of the files beside it.
  func state(_ directory: String, _ step: Int) throws -> [String: String] {
    var state = try read(directory, step)
    for file in try checkpoint(directory, step).manifest.sidecars { state[file.name] = "\(file.hash)" }
    return state
  }

  /// The tensors of `state` as a reader gets them that verifies nothing beforehand.
  func read(_ directory: String, _ step: Int) throws -> [String: String] {
    try read("\(directory)/checkpoints/\(TrainingCheckpointName.of(step: step))")
  }

  func read(_ checkpoint: String) throws -> [String: String] {
    let container = try TensorContainer(self(checkpoint))
    var state: [String: String] = [:]
    for tensor in container.tensors {
      for (plane, hash) in try container.contentHashes(tensor.name) { state["\(tensor.name) \(plane)"] = "\(hash)" }
    }
    return state
  }

  /// A weight in a checkpoint.
  func master(_ directory: String, _ step: Int, _ name: String) throws -> [Float] {
    let container = try checkpoint(directory, step), name = CheckpointTensors.master(name)
    var values = [Float](repeating: 0, count: try container.requireTensor(name).shape.count)
    var span = values.mutableSpan
    try container.readDense(name, into: &span)
    return values
  }

  /// Changes what a manifest says and seals it again, as a writer of another mind would have written it.
  func editManifest(_ name: String, _ edit: (inout JSONObject) -> Void) throws {
    var object = try JSONScanner.parse(bytes(name)).object!
    object["hash"] = nil
    edit(&object)
    object["hash"] = .string(ContentHash(JSONValue.object(object).serialized()).description)
    try Data(JSONValue.object(object).serialized()).write(to: URL(fileURLWithPath: self(name)))
  }
}

/// How a run ended on one rank.
struct RankEnd: Sendable {
  var outcome: TrainingRun.Outcome?
  /// The error's text, of a `CollectiveFailure` that of its reason.
  var error: String?
  var isCollective = false
  var speaks = false
  /// Step that the run says was not finite.
  var notFiniteStep: Int?
  /// Progress as reported.
  var lines: [String] = []
}

enum Runs {
  /// Runs on threads that are ranks; every rank's end, errors included. `onLine` gets what the root reports, as it does.
  static func ends(
    ranks: Int = 1, nodes: NodeMap? = nil, resume: TrainingRun.Resume = .no,
    prepare: @escaping @Sendable (TrainingRun) -> Void = { _ in },
    onLine: @escaping @Sendable (String) -> Void = { _ in },
    _ settings: @escaping @Sendable (Int) throws -> RunConfiguration
  ) throws -> [RankEnd] {
    try Communicator.onThreads(ranks, nodes: nodes) { communicator in
      var end = RankEnd()
      do {
        let run = try TrainingRun(
          settings(communicator.rank), communicator: communicator, open: { try ModelSources.open($0) },
          report: {
            end.lines.append($0)
            onLine($0)
          })
        prepare(run)
        end.outcome = try run.run(resume: resume)
      } catch {
        end.error = "\(error)"
        if let failure = error as? CollectiveFailure {
          end.isCollective = true
          end.speaks = failure.speaks
          if case .notFinite(let step, _, _)? = failure.underlying as? TrainingError { end.notFiniteStep = step }
        }
      }
      return end
    }
  }

  /// Runs to the end; the root's report.
  @discardableResult
  static func finish(
    _ settings: RunConfiguration, ranks: Int = 1, nodes: NodeMap? = nil, resume: TrainingRun.Resume = .no,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> [String] {
    let ends = try ends(ranks: ranks, nodes: nodes, resume: resume) { _ in settings }
    for end in ends {
      #expect(end.error == nil && end.outcome == .finished, "\(end)", sourceLocation: sourceLocation)
    }
    return ends[0].lines
  }

  /// Fails unless every rank ends with a collective error, exactly one speaks, and its text has all `words`.
  static func expectRefusal(
    _ words: String..., ranks: Int = 2, resume: TrainingRun.Resume = .no,
    sourceLocation: SourceLocation = #_sourceLocation, of settings: RunConfiguration
  ) throws {
    let ends = try ends(ranks: ranks, resume: resume) { _ in settings }
    #expect(ends.allSatisfy { $0.isCollective }, "\(ends)", sourceLocation: sourceLocation)
    #expect(ends.count { $0.speaks } == 1, "\(ends)", sourceLocation: sourceLocation)
    let text = ends.first { $0.speaks }?.error ?? ""
    for word in words { #expect(text.contains(word), "\(text)", sourceLocation: sourceLocation) }
  }
}

/// A small file system of its own, where the process may mount one.
final class SmallDisk {
  let path: String

  static let isAvailable: Bool = (try? SmallDisk(mebibytes: 1)) != nil
  static let absence = "mounting a small tmpfs needs root"
  struct Unavailable: Error {}

  init(mebibytes: Int) throws {
    path = FileManager.default.temporaryDirectory.path + "/smalldisk-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    guard unsafe mount("tmpfs", path, "tmpfs", 0, "size=\(mebibytes)m") == 0 else {
      unsafe rmdir(path)
      throw Unavailable()
    }
  }

  func makeReadOnly() {
    let code = unsafe mount("tmpfs", path, "tmpfs", UInt(MS_REMOUNT | MS_RDONLY), nil)
    precondition(code == 0, "remount: errno \(errno)")
  }

  deinit {
    unsafe umount2(path, Int32(MNT_DETACH))
    unsafe rmdir(path)
  }
}

enum Files {
  static func exchange(_ a: String, _ b: String) throws {
    try move(a, to: a + ".aside")
    try move(b, to: a)
    try move(a + ".aside", to: b)
  }

  static func move(_ source: String, to target: String) throws {
    try FileManager.default.moveItem(atPath: source, toPath: target)
  }
}
