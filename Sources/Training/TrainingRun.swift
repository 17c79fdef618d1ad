import Checkpoints
public import Communication
import Formats
import Kernels
import Quantization
public import Settings
import Tensors
import Text
public import Transformer

/// `mfqat train` from configuration to anchor, on every rank of a communicator.
public final class TrainingRun {
  public enum Resume: Sendable, Hashable {
    case no
    /// The newest checkpoint of the run directory that verifies; a new run if there is none.
    case newest
    case from(String)
  }

  public let trainer: Trainer
  let settings: RunConfiguration
  let directory: RunDirectory
  let communicator: Communicator
  private let origin: ModelOrigin
  private let validation: Validation?
  private let report: (String) -> Void

  /// Reads everything and lays out memory; touches no weight and writes nothing.
  ///
  /// - Parameters:
  ///   - open: how a path becomes a model source.
  ///   - report: receives progress, one line at a time, on the root only.
  public init(
    _ settings: RunConfiguration, communicator: Communicator, open: (String) throws -> any ModelSource,
    report: @escaping (String) -> Void
  ) throws {
    self.settings = settings
    self.communicator = communicator
    self.report = communicator.isRoot ? report : { _ in }
    try communicator.requireEqual(Array(settings.resolvedYAML().utf8), what: "the configuration")
    try communicator.requireEqual(Array(KernelTable.current.name.utf8), what: "the kernel table")
    try communicator.requireEqual(Array(BLAS.coreName.utf8), what: "the OpenBLAS kernel")
    let (origin, trainer, validation) = try communicator.onEveryRank {
      let origin = try ModelOrigin(settings.model, open: open)
      let tokenizer = try Tokenizer(json: origin.tokenizer.bytes, source: origin.tokenizer.path)
      let tokens = try TokenStream.open(settings.data.train, tokenizer: tokenizer)
      let trainer = try Trainer(settings, model: origin.configuration, tokens: tokens, communicator: communicator)
      let validation = try settings.data.validation.isEmpty || settings.logging.validateEvery == 0
        ? nil
        : Validation(
          tokens: TokenStream.open(settings.data.validation, tokenizer: tokenizer),
          maximumWindows: settings.data.validationWindows, model: origin.configuration, context: settings.data.context,
          activationFormat: settings.quantization.activations, communicator: communicator, memory: trainer.memory)
      return (origin, trainer, validation)
    }
    self.origin = origin
    self.trainer = trainer
    self.validation = validation
    directory = RunDirectory(path: settings.logging.directory)
  }

  // MARK: The run

  public func run(resume: Resume) throws {
    StopSignals.install()
    try start(resume)
    let metrics = communicator.isRoot ? try MetricsLog(directory.metrics) : nil
    var lastSaved = trainer.stepsDone
    do {
      while trainer.stepsDone < settings.training.steps {
        let record = try trainer.step()
        try communicator.onRoot { try metrics?.append(record) }
        if record.step % settings.logging.every == 0 || record.step == settings.training.steps { report(line(record)) }
        if settings.logging.validateEvery > 0 && record.step % settings.logging.validateEvery == 0 {
          try validate(record.step, metrics)
        }
        if settings.checkpoint.every > 0 && record.step % settings.checkpoint.every == 0 {
          try save()
          lastSaved = record.step
        }
        if try communicator.agree(on: StopSignals.isRaised) {
          if lastSaved < record.step { try save() }
          report("stopped by a signal after step \(record.step); --resume auto continues")
          return
        }
      }
    } catch let error as TrainingError {
      // No weight has changed in the failed step: what stands is the last good state.
      if lastSaved < trainer.stepsDone { try save() }
      throw CollectiveFailure(underlying: error, speaks: communicator.isRoot)
    }
    if lastSaved < trainer.stepsDone || trainer.stepsDone == 0 { try save() }
    try writeAnchor()
  }

  private func start(_ resume: Resume) throws {
    let candidates: [TrainingCheckpoint]
    switch resume {
    case .no: candidates = []
    case .newest: candidates = TrainingCheckpoint.all(in: directory.checkpoints)
    case .from(let path):
      guard let name = path.split(separator: "/").last, name.hasPrefix("step-"), let step = Int(name.dropFirst(5)) else {
        throw RunDirectoryError(path: path, problem: "not a checkpoint", hint: "Name a folder like checkpoints/step-000500.")
      }
      candidates = [TrainingCheckpoint(path: path, step: step)]
    }
    for candidate in candidates {
      do {
        try communicator.onEveryRank {
          let before = try candidate.verify()
          guard Self.resumable(before) == Self.resumable(settings.resolvedYAML()) else {
            throw RunDirectoryError(path: candidate.path, problem: "the run was started with other settings",
              hint: "Compare config.resolved.yaml; a changed configuration is a new run.")
          }
        }
      } catch {
        if case .from = resume { throw error }
        report("refused \(candidate.path): \(error)")
        continue
      }
      try communicator.onEveryRank { if let source = origin.source { try trainer.loadTeacher(from: source) } }
      try candidate.restore(trainer)
      try communicator.onRoot { try directory.truncateMetrics(after: candidate.step) }
      report("resumed at step \(candidate.step) from \(candidate.path)")
      return
    }
    if !candidates.isEmpty {
      throw CollectiveFailure(underlying: RunDirectoryError(path: directory.checkpoints, problem: "none of \(candidates.count) checkpoints can be used",
        hint: "The reasons are above."), speaks: communicator.isRoot)
    }
    try communicator.onRoot {
      try directory.create()
      try directory.write(settings.resolvedYAML(), to: directory.configuration)
      try directory.write(RunEnvironment.json(ranks: communicator.size), to: directory.environment)
    }
    if let source = origin.source { try trainer.load(from: source) } else { try trainer.initialize() }
  }

  /// The settings that decide a run's numbers: where it logs and how often it saves do not.
  private static func resumable(_ yaml: String) -> String {
    var section = ""
    return yaml.split(separator: "\n").filter { line in
      if let first = line.first, first != " ", line.hasSuffix(":") { section = String(line.dropLast()) }
      return section != "logging" && section != "checkpoint"
    }.joined(separator: "\n")
  }

  private func save() throws {
    try TrainingCheckpoint.write(trainer, origin: origin, settings: settings.resolvedYAML(), in: directory.checkpoints)
    try communicator.onRoot {
      try directory.markLatest(TrainingCheckpoint.name(ofStep: trainer.stepsDone))
      try directory.prune(keeping: settings.checkpoint.keep)
    }
    report("saved checkpoint \(TrainingCheckpoint.name(ofStep: trainer.stepsDone))")
  }

  private func writeAnchor() throws {
    guard settings.checkpoint.anchor, settings.quantization.objective == .quantized else { return }
    let format = settings.quantization.anchor
    if communicator.isRoot && FileBytes.exists(directory.anchor) {
      report("\(directory.anchor) is there already and stays")
    }
    guard try communicator.agree(on: communicator.isRoot && FileBytes.exists(directory.anchor)) == false else { return }
    let provenance: JSONValue = [
      "steps": .integer(trainer.stepsDone), "seed": .string(String(settings.training.seed)),
      "formats": .array(settings.quantization.formats.map { .string($0.name) }),
      "schedule": .string(settings.quantization.schedule.rawValue), "path": .string(settings.quantization.path.rawValue),
      "estimator": .string(settings.quantization.estimator.rawValue),
    ]
    try AnchorOfRun.write(
      trainer, format: format, origin: origin, metadata: provenance.object ?? JSONObject(), to: directory.anchor)
    report("wrote the \(format.name) anchor \(directory.anchor)")
  }

  private func validate(_ step: Int, _ metrics: MetricsLog?) throws {
    guard let validation else { return }
    let formats = settings.quantization.formatsToEvaluate
    if trainer.schedule == nil || formats.isEmpty {
      let nll = try validation.score(trainer.weights.parameters)
      try communicator.onRoot { try metrics?.append(validation: step, format: "fp32", nll: nll) }
      report("valid: \(step)  fp32 \(Figures.fixed(nll, 4))")
      return
    }
    var line = "valid: \(step)"
    for format in formats {
      try trainer.weights.publish(format)
      trainer.weights.materialize(format)
      let nll = try validation.score(trainer.weights.parameters)
      try communicator.onRoot { try metrics?.append(validation: step, format: format.name, nll: nll) }
      line += "  \(format.name) \(Figures.fixed(nll, 4))"
    }
    report(line)
  }

  private func line(_ r: StepRecord) -> String {
    "step: \(r.step)/\(settings.training.steps)  loss: \(Figures.fixed(r.loss, 5))  grad_norm: \(Figures.fixed(r.gradientNorm, 4))"
      + "  lr: \(Figures.scientific(r.learningRate))  fmt: \(r.format)  tok/s: \(Int(r.tokensPerSecond))"
      + "  ms/step: \(Int(r.seconds.total * 1000))"
      + (communicator.size > 1 ? "  comm%: \(Int(100 * r.traffic.seconds / max(r.seconds.total, 1e-9)))" : "")
  }
}
