import Checkpoints
import Communication
import Tensors
import Transformer

/// A training checkpoint: a Hugging Face folder of the fp32 masters, with AdamW's moments and the position beside them.
///
///   step-000500/  config.json  tokenizer.json …  model.safetensors    any tool can load it
///                 optimizer.safetensors                               m.NAME, v.NAME
///                 training.json                                       step, settings, XXH3-128 of every file
///
/// Tensors are whole and keyed by name, so a run resumes on any number of ranks. Every number of a run is a function of
/// (seed, step, position): the step *is* the state of data order, formats and schedules.
struct TrainingCheckpoint {
  static let stateFile = "training.json"
  static let optimizerFile = "optimizer.safetensors"

  let path: String
  let step: Int

  static func name(ofStep step: Int) -> String {
    let digits = String(step)
    return "step-" + String(repeating: "0", count: max(0, 6 - digits.count)) + digits
  }

  // MARK: Writing

  /// Collective. Units are gathered one at a time through the gradient buffers, which are idle between steps; the root
  /// writes. Nothing appears under the final name unless everything has been written.
  static func write(
    _ trainer: Trainer, origin: ModelOrigin, settings: String, in folder: String
  ) throws {
    let communicator = trainer.communicator
    let target = folder + "/" + name(ofStep: trainer.stepsDone)
    var directory: AtomicDirectory?
    var model: SafeTensorsWriter?, optimizer: SafeTensorsWriter?
    try communicator.onRoot {
      let parameters = trainer.state.units.flatMap(\.layout.parameters)
      let created = try AtomicDirectory(target: target)
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
      try communicator.onRoot {
        guard let directory else { return }
        try model?.commit()
        try optimizer?.commit()
        let files = FileBytes.names(in: directory.temporary).filter { $0 != stateFile }
        var hashes = JSONObject()
        for file in files { hashes[file] = .string(try ContentHash.ofFile(directory.path(file)).description) }
        let state: JSONValue = [
          "step": .integer(trainer.stepsDone), "ranks": .integer(communicator.size), "settings": .string(settings),
          "files": .object(hashes),
        ]
        try directory.write(state.serialized(order: .given, indent: 2), to: stateFile)
        try directory.commit()
      }
    } catch {
      directory?.abandon()
      throw error
    }
  }

  // MARK: Reading

  /// Checkpoints of a run, newest first.
  static func all(in folder: String) -> [TrainingCheckpoint] {
    FileBytes.names(in: folder).compactMap { name in
      guard name.hasPrefix("step-"), let step = Int(name.dropFirst(5)) else { return nil }
      return TrainingCheckpoint(path: folder + "/" + name, step: step)
    }.sorted { $0.step > $1.step }
  }

  /// Checks every file against its hash; returns the settings the run was started with.
  func verify() throws -> String {
    let file = path + "/" + Self.stateFile
    let state = try JSONScanner.parse(file: file)
    guard state["step"]?.integer == step, let files = state["files"]?.object, let settings = state["settings"]?.string
    else {
      throw CheckpointError(
        "resume", path: file, expected: "step \(step), the files and the settings of the run",
        found: "something else", hint: "Use another checkpoint")
    }
    for (name, hash) in files.members {
      let found = try ContentHash.ofFile(path + "/" + name).description
      guard hash.string == found else {
        throw CheckpointError(
          "verify", path: path + "/" + name, expected: "XXH3-128 \(hash.string ?? "?")", found: found,
          hint: "The file has changed since it was written: use another checkpoint")
      }
    }
    return settings
  }

  /// Fills this rank's masters and moments.
  func restore(_ trainer: Trainer) throws {
    try trainer.load(from: HuggingFaceFolder(path), withTeacher: false)
    let optimizer = try SafeTensorsFile(path + "/" + Self.optimizerFile)
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
    trainer.stepsDone = step
  }
}
