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
///
/// Whatever can fail on one rank alone (a file, a disk) runs inside `onEveryRank` or `onRoot`, so that all ranks stop
/// together with one reason. An error that is no `CollectiveFailure` comes from the transport itself: whoever catches it
/// ends the process, and the launcher the job.
public final class TrainingRun {
  public enum Resume: Sendable, Hashable {
    case no
    /// The newest checkpoint of the run directory that verifies; a new run if there is none.
    case newest
    case from(String)
  }

  public enum Outcome: Sendable, Hashable {
    case finished
    /// A signal asked for it; the step has a checkpoint.
    case stopped(step: Int)
  }

  public let trainer: Trainer
  /// Nil until `run` has returned.
  public private(set) var outcome: Outcome?
  let settings: RunConfiguration
  let directory: RunDirectory
  let communicator: Communicator
  let origin: ModelOrigin
  let identity: RunIdentity
  let report: (String) -> Void
  private let validation: Validation?
  /// Asked between steps, and between the micro-batches of a step.
  package var isAskedToStop: () -> Bool = { StopSignals.raised != nil }
  /// Of the root: that it alone writes the directory, and what it writes there a line at a time.
  var lock: RunLock?
  var metrics: MetricsLog?
  /// What the directory has a checkpoint of.
  var lastSaved: StepMark?
  /// The checkpoint that is being written, and the seconds that training has lost to it.
  var inFlight: (save: CheckpointSave, lost: Double)?
  /// Where it is written from in the background.
  let copy: StateCopy?

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
    directory = RunDirectory(path: settings.logging.directory)
    let resolved = settings.resolvedYAML()
    try communicator.requireSame(
      resolved, what: "the configuration", hint: "Start all ranks with the same file and the same --set options."
    ) { ResolvedSettings.words(ResolvedSettings.differences($0, $1), "there", "on rank 0") }
    try communicator.requireSame(
      RunIdentity.arithmetic, what: "the arithmetic",
      hint: "Ranks on unlike processors must be told to use the same: MFQAT_KERNELS and OPENBLAS_CORETYPE.")

    let input = try communicator.onEveryRank { try RunInput(settings, open: open) }
    try communicator.requireSame(
      input.identity, what: "the model or text",
      hint: "All ranks must read the same files, as from a shared file system.")
    let (trainer, validation) = try communicator.onEveryRank {
      let trainer = try Trainer(
        settings, model: input.origin.configuration, tokens: input.tokens, communicator: communicator)
      try trainer.requireMatrices()
      return (trainer, try input.validation.map { try Validation(tokens: $0, of: trainer) })
    }
    origin = input.origin
    identity = RunIdentity(
      settings: resolved, text: input.tokens.identity,
      model: try communicator.fromRoot { try input.origin.identity(distills: settings.distillation.isOn) },
      arithmetic: RunIdentity.arithmetic)
    self.trainer = trainer
    self.validation = validation
    copy = settings.checkpoint.background ? StateCopy(of: trainer.savedState(), in: trainer.memory.checkpoint) : nil
  }

  // MARK: The run

  /// Trains to the last step and writes the anchor, or stops at a signal with a checkpoint.
  ///
  /// - Throws: `CollectiveFailure` on every rank. What was saved before stays; after `TrainingError.notFinite` the last
  ///   good state has been saved, too.
  @discardableResult
  public func run(resume: Resume) throws -> Outcome {
    StopSignals.install()
    defer { StopSignals.restore() }
    for line in trainer.linear.decisionLines { report(line) }
    if communicator.size > 1 { report("\(communicator.nodeDescription); \(trainer.wireDescription)") }
    watch()
    defer { trainer.watchdog = nil }
    defer { lock = nil }
    lastSaved = try start(resume)
    metrics = try communicator.onEveryRank { communicator.isRoot ? try openMetrics() : nil }
    defer { inFlight?.save.abandon() }
    do {
      while trainer.stepsDone < settings.training.steps {
        guard let record = try trainer.step(pausingIf: { try communicator.agree(on: isAskedToStop()) }) else {
          return try stop()
        }
        try communicator.onRoot { try metrics?.append(record) }
        if record.step % settings.logging.every == 0 || record.step == settings.training.steps { report(line(record)) }
        if settings.logging.validateEvery > 0 && record.step % settings.logging.validateEvery == 0 {
          try validate(record.step)
        }
        try settle(waiting: false)
        if settings.checkpoint.every > 0 && record.step % settings.checkpoint.every == 0 {
          try save(record.step == settings.training.steps ? .last : .scheduled)
        }
        if try communicator.agree(on: isAskedToStop()) {
          return try stop()
        }
      }
    } catch let error as TrainingError {
      try saveLastGoodState(after: error)
      throw CollectiveFailure(underlying: error, speaks: communicator.isRoot)
    } catch let failure as CollectiveFailure {
      // All ranks are here: what they have written may well be a checkpoint.
      try? settle(waiting: true)
      throw failure
    }
    try settle(waiting: true)
    if lastSaved != trainer.mark { try save(.last) }
    try writeAnchor()
    try communicator.onRoot { try metrics?.flush() }
    return finish(.finished)
  }

  /// Saves where the run stands, which can be in the middle of a step.
  private func stop() throws -> Outcome {
    try settle(waiting: true)
    if lastSaved != trainer.mark { try save(.last) }
    try communicator.onRoot { try metrics?.flush() }
    report("stopped by \(StopSignals.raised ?? "a signal") after \(trainer.mark.words); --resume auto continues")
    return finish(.stopped(step: trainer.stepsDone))
  }

  private func openMetrics() throws -> MetricsLog {
    try MetricsLog(directory.metrics, tolerant: settings.checkpoint.onFailure == .continue) { [report] line in
      report("warning: " + line)
    }
  }

  /// Begins to look out for ranks that stand still.
  private func watch() {
    let seconds = settings.communication.watchdogSeconds
    guard seconds > 0 else { return }
    trainer.watchdog = Watchdog(
      .init(rank: communicator.rank, ranks: communicator.size, directory: directory.path), limits: .init(step: seconds))
  }

  private func finish(_ outcome: Outcome) -> Outcome {
    self.outcome = outcome
    return outcome
  }

  // MARK: Saving

  /// No weight has changed in the failed step: what stands is the state after the step before. Before the first step
  /// there is nothing that the starting model does not hold.
  private func saveLastGoodState(after error: TrainingError) throws {
    do {
      try settle(waiting: true)
      if trainer.stepsDone > 0, lastSaved != trainer.mark { try save(.afterFailure) }
    } catch let failure as CollectiveFailure {
      throw CollectiveFailure(
        underlying: PeerFailure(description: "\(error) That state could not be saved: \(failure)"),
        speaks: failure.speaks)
    }
  }

  private func writeAnchor() throws {
    guard settings.checkpoint.anchor, settings.quantization.objective == .quantized else { return }
    let format = settings.quantization.anchor
    if try communicator.agree(on: communicator.isRoot && FileBytes.exists(directory.anchor)) {
      report("\(directory.anchor) is there already and stays")
      return
    }
    var provenance = JSONObject()
    provenance["steps"] = .integer(trainer.stepsDone)
    provenance["seed"] = .string(String(settings.training.seed))
    provenance["formats"] = .array(settings.quantization.formats.map { .string($0.name) })
    provenance["schedule"] = .string(settings.quantization.schedule.rawValue)
    provenance["path"] = .string(settings.quantization.path.rawValue)
    provenance["estimator"] = .string(settings.quantization.estimator.rawValue)
    origin.source?.coordinates.state(in: &provenance)
    try AnchorOfRun.write(trainer, format: format, origin: origin, metadata: provenance, to: directory.anchor)
    report("wrote the \(format.name) anchor \(directory.anchor)")
  }

  // MARK: Telling

  private func validate(_ step: Int) throws {
    guard let validation else { return }
    let scores = try validation.scores(of: trainer)
    for score in scores {
      try communicator.onRoot { try metrics?.append(validation: step, format: score.format, nll: score.nll) }
    }
    report("valid: \(step)" + scores.map { "  \($0.format) \(Figures.fixed($0.nll, 4))" }.joined())
  }

  private func line(_ r: StepRecord) -> String {
    "step: \(r.step)/\(settings.training.steps)  loss: \(Figures.fixed(r.loss, 5))  grad_norm: \(Figures.fixed(r.gradientNorm, 4))"
      + "  lr: \(Figures.scientific(r.learningRate))  fmt: \(r.format)  tok/s: \(Int(r.tokensPerSecond))"
      + "  ms/step: \(Int(r.seconds.total * 1000))"
      + (communicator.size > 1 ? "  comm%: \(Int(100 * r.traffic.seconds / max(r.seconds.total, 1e-9)))"
        + "  hidden%: \(Int(100 * r.traffic.hiddenFraction))  sent: \(Figures.bytes(r.traffic.bytesSent))" : "")
  }
}
