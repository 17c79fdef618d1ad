import Checkpoints
import Communication
import Tensors
import Transformer

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A training checkpoint: a Hugging Face folder of the fp32 masters, with AdamW's moments and the position beside them.
///
///   step-000500/  config.json  tokenizer.json …  model.safetensors    any tool can load it
///                 optimizer.safetensors                               m.NAME, v.NAME
///                 replica.safetensors                                 of weights that travel as differences
///                 feedback-0003.safetensors …                         a file a rank: what rounding has lost there
///                 training.json                                       step, settings, XXH3-128 of every file
///
/// Tensors are whole and keyed by name, so a run resumes on any number of ranks. Every number of a run is a function of
/// (seed, step, position): the step *is* the state of data order, formats and schedules. What error feedback keeps is a
/// rank's own, and only fits the same ranks on the same nodes.
public struct TrainingCheckpoint: Sendable, Hashable {
  static let stateFile = "training.json"
  static let optimizerFile = "optimizer.safetensors"
  static let replicaFile = "replica.safetensors"

  static func feedbackFile(ofRank rank: Int) -> String {
    let digits = String(rank)
    return "feedback-" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits + ".safetensors"
  }

  public let path: String
  public let step: Int

  init(path: String, step: Int) {
    self.path = path
    self.step = step
  }

  /// The checkpoint at `path`, by its name; nil for any other name.
  public init?(path: String) {
    guard let name = path.split(separator: "/").last, let step = Self.step(ofName: String(name)) else { return nil }
    self.init(path: path, step: step)
  }

  static func name(ofStep step: Int) -> String {
    let digits = String(step)
    return "step-" + String(repeating: "0", count: max(0, 6 - digits.count)) + digits
  }

  /// nil for temporaries, refused ones and all else.
  private static func step(ofName name: String) -> Int? {
    guard name.hasPrefix("step-"), let step = Int(name.dropFirst(5)), name == Self.name(ofStep: step) else {
      return nil
    }
    return step
  }

  /// Checkpoints of a run, newest first.
  static func all(in folder: String) -> [TrainingCheckpoint] {
    FileBytes.names(in: folder)
      .compactMap { name in step(ofName: name).map { TrainingCheckpoint(path: folder + "/" + name, step: $0) } }
      .sorted { $0.step > $1.step }
  }

  // MARK: Writing

  /// Collective. Units are gathered one at a time through the gradient buffers, which are idle between steps; the root
  /// writes. Nothing appears under the final name unless everything has been written; a checkpoint of that name, which
  /// a resumed run meets where it has passed before, stays until then.
  static func write(
    _ trainer: Trainer, origin: ModelOrigin, identity: RunIdentity, in folder: String
  ) throws {
    let communicator = trainer.communicator
    let target = folder + "/" + name(ofStep: trainer.stepsDone)
    let replacement = target + ".tmp-replacement"
    var directory: AtomicDirectory?
    var model: SafeTensorsWriter?, optimizer: SafeTensorsWriter?
    try trainer.updateReplica()
    try communicator.onRoot {
      let parameters = trainer.state.units.flatMap(\.layout.parameters)
      let created = try AtomicDirectory(target: FileBytes.exists(target) ? replacement : target)
      directory = created
      for file in origin.sidecars { try created.write(file.bytes, to: file.name) }
      model = try SafeTensorsWriter(
        created.path(ModelFolderTensors.singleFile), tensors: parameters.map { .init($0.name, .f32, $0.shape) })
      optimizer = try SafeTensorsWriter(
        created.path(optimizerFile),
        tensors: parameters.flatMap { [.init("m." + $0.name, .f32, $0.shape), .init("v." + $0.name, .f32, $0.shape)] })
    }
    do {
      try trainer.forEachGatheredUnit(.master) { spec, values in try model?.append(spec.name, values) }
      try trainer.forEachGatheredUnit(.firstMoment) { spec, values in try optimizer?.append("m." + spec.name, values) }
      try trainer.forEachGatheredUnit(.secondMoment) { spec, values in try optimizer?.append("v." + spec.name, values) }
      let temporary = try communicator.fromRoot { directory?.temporary ?? "" }
      try communicator.onEveryRank { try writeFeedback(of: trainer, in: temporary) }
      try communicator.onRoot {
        guard let directory else { return }
        try writeReplica(of: trainer, to: directory.path(replicaFile))
        try model?.commit()
        try optimizer?.commit()
        var hashes = JSONObject()
        for file in FileBytes.names(in: directory.temporary) {
          hashes[file] = .string(try ContentHash.ofFile(directory.path(file)).description)
        }
        let state = CheckpointState(
          step: trainer.stepsDone, ranks: communicator.size, nodes: communicator.nodeDescription, identity: identity,
          files: hashes)
        try directory.write(state.json.serialized(order: .given, indent: 2), to: stateFile)
        try directory.commit()
        if directory.target != target { try replace(target, by: replacement) }
      }
    } catch {
      directory?.abandon()
      throw error
    }
  }

  /// All ranks have the same.
  private static func writeReplica(of trainer: Trainer, to path: String) throws {
    guard let replica = trainer.weights.messages.replica else { return }
    let units = trainer.state.units.map(\.layout)
    let writer = try SafeTensorsWriter(
      path, tensors: units.flatMap(\.parameters).map { .init($0.name, .f32, $0.shape) })
    for (index, unit) in units.enumerated() {
      for spec in unit.parameters {
        let values = replica.units[index].values.region(spec.offset, rows: spec.rows, columns: spec.columns)
        try writer.append(spec.name, values.span)
      }
    }
    try writer.commit()
  }

  private static func writeFeedback(of trainer: Trainer, in folder: String) throws {
    guard let feedback = trainer.reducer.feedback else { return }
    var tensors: [SafeTensorsWriter.Declaration] = []
    feedback.forEach { name, values in tensors.append(.init(name, .f32, [values.count])) }
    let writer = try SafeTensorsWriter(
      folder + "/" + feedbackFile(ofRank: trainer.communicator.rank), tensors: tensors)
    try feedback.forEach { name, values in try writer.append(name, values.span) }
    try writer.commit()
  }

  private static func replace(_ target: String, by replacement: String) throws {
    try CommittedDirectories.remove(target)
    guard unsafe rename(replacement, target) == 0 else {
      throw RunDirectoryError(path: target, cannot: "be replaced by \(replacement)", errno)
    }
  }

  // MARK: Reading

  /// Checks every file against its hash; returns what `training.json` says.
  @discardableResult
  func verified() throws -> CheckpointState {
    let state = try CheckpointState(path + "/" + Self.stateFile)
    guard state.step == step else {
      throw CheckpointError(
        "resume", path: path + "/" + Self.stateFile, expected: "step \(step)", found: "step \(state.step)",
        hint: "The folder was renamed: use another checkpoint")
    }
    try state.verifyFiles(in: path)
    return state
  }

  /// Reads everything: throws for the first file that is not as it was written.
  public func verify() throws { try verified() }

  /// Whether the folder at `path` is a training checkpoint, of whatever name.
  ///
  /// Other tools keep a `training.json` of their own beside a model: ours stands with the optimizer's state, or lists files.
  public static func isCheckpoint(_ path: String) -> Bool {
    let state = path + "/" + stateFile
    guard FileBytes.exists(state) else { return false }
    if FileBytes.exists(path + "/" + optimizerFile) { return true }
    return (try? JSONScanner.parse(file: state))?["files"]?.object != nil
  }

  /// As `verify`, for a checkpoint that may have been copied under another name.
  public static func verify(copyAt path: String) throws {
    try CheckpointState(path + "/" + stateFile).verifyFiles(in: path)
  }

  /// Fills this rank's masters and moments; touches no other rank, publishes nothing.
  func restore(_ trainer: Trainer) throws {
    let folder = try HuggingFaceFolder(path)
    guard folder.configuration == trainer.model else {
      throw ModelError(
        path, "the checkpoint is of another model than the run starts from now",
        hint: "Compare its config.json with that of model.path.")
    }
    let optimizer = try SafeTensorsFile(path + "/" + Self.optimizerFile)
    for unit in trainer.state.units {
      for spec in unit.layout.parameters {
        for name in ["m." + spec.name, "v." + spec.name] {
          let shape = try optimizer.requireEntry(name).shape
          guard shape.dimensions == spec.shape else {
            throw ModelError(optimizer.path, "tensor '\(name)' has shape \(shape), expected \(spec.shape)")
          }
        }
      }
    }
    try trainer.state.load(from: folder)
    for unit in trainer.state.units {
      for run in unit.runs {
        let spec = unit.layout.parameters[run.matrix]
        let elements = run.rows.lowerBound * spec.columns..<run.rows.upperBound * spec.columns
        var m = unit.firstMoment.region(run.shardOffset, rows: 1, columns: run.elementCount)
        var first = m.mutableSpan
        try optimizer.read("m." + spec.name, elements: elements, into: &first)
        var v = unit.secondMoment.region(run.shardOffset, rows: 1, columns: run.elementCount)
        var second = v.mutableSpan
        try optimizer.read("v." + spec.name, elements: elements, into: &second)
      }
    }
    try restoreReplica(trainer)
    try restoreFeedback(trainer)
    trainer.stepsDone = step
  }

  private func restoreReplica(_ trainer: Trainer) throws {
    trainer.weights.mastersReplaced()
    guard let replica = trainer.weights.messages.replica else { return }
    let file = try SafeTensorsFile(path + "/" + Self.replicaFile)
    for (index, unit) in trainer.state.units.enumerated() {
      for spec in unit.layout.parameters {
        var region = replica.units[index].values.region(spec.offset, rows: 1, columns: spec.count)
        var values = region.mutableSpan
        try file.read(spec.name, elements: 0..<spec.count, into: &values)
      }
    }
    trainer.weights.messages.replicaRestored()
  }

  /// Feedback of other ranks or nodes fits nowhere: it begins at zero, and the run says so.
  private func restoreFeedback(_ trainer: Trainer) throws {
    guard let feedback = trainer.reducer.feedback else { return }
    let state = try CheckpointState(path + "/" + Self.stateFile)
    guard state.ranks == trainer.communicator.size, state.nodes == trainer.communicator.nodeDescription else { return }
    let file = try SafeTensorsFile(path + "/" + Self.feedbackFile(ofRank: trainer.communicator.rank))
    try feedback.forEach { name, buffer in
      var values = buffer.mutableSpan
      try file.read(name, elements: 0..<values.count, into: &values)
    }
  }
}

/// `training.json` of a checkpoint.
struct CheckpointState {
  let step: Int
  /// That wrote it; any number can read it.
  let ranks: Int
  /// How they lay on nodes.
  let nodes: String
  let identity: RunIdentity
  /// XXH3-128 by file name.
  let files: JSONObject

  init(step: Int, ranks: Int, nodes: String, identity: RunIdentity, files: JSONObject) {
    (self.step, self.ranks, self.nodes, self.identity, self.files) = (step, ranks, nodes, identity, files)
  }

  init(_ file: String) throws {
    let json = try JSONScanner.parse(file: file)
    guard let step = json["step"]?.integer, let ranks = json["ranks"]?.integer, let text = json["text"]?.string,
      let arithmetic = json["arithmetic"]?.string, let settings = json["settings"]?.string,
      let files = json["files"]?.object, files[ModelFolderTensors.singleFile] != nil,
      files[TrainingCheckpoint.optimizerFile] != nil
    else {
      throw CheckpointError(
        "resume", path: file, expected: "step, ranks, text, arithmetic, settings and the files of a checkpoint",
        found: "not all of them", hint: "Use another checkpoint")
    }
    self.init(
      step: step, ranks: ranks, nodes: json["nodes"]?.string ?? "",
      identity: RunIdentity(settings: settings, text: text, arithmetic: arithmetic),
      files: files)
  }

  func verifyFiles(in folder: String) throws {
    for (name, hash) in files.members {
      let found = try ContentHash.ofFile(folder + "/" + name).description
      guard hash.string == found else {
        throw CheckpointError(
          "verify", path: folder + "/" + name, expected: "XXH3-128 \(hash.string ?? "?")", found: found,
          hint: "The file has changed since it was written: use another checkpoint")
      }
    }
  }

  var json: JSONValue {
    [
      "step": .integer(step), "ranks": .integer(ranks), "nodes": .string(nodes), "text": .string(identity.text),
      "arithmetic": .string(identity.arithmetic), "settings": .string(identity.settings), "files": .object(files),
    ]
  }
}
