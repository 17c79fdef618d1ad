import Checkpoints
import Communication
import Settings
import Transformer

/// Where a run begins: at a checkpoint, or at the starting model.
extension TrainingRun {
  /// Fills the trainer and makes the run directory ready. Collective.
  ///
  /// - Returns: where the run begins, if this directory has a checkpoint of it.
  func start(_ resume: Resume) throws -> StepMark? {
    switch resume {
    case .no:
      try lockDirectory { try directory.requireVacant() }
      try startAnew { try directory.requireVacant() }
      return nil
    case .newest:
      return try resumeFromNewest()
    case .from(let path):
      return try resumeFrom(path)
    }
  }

  /// Keeps other jobs out of the directory until this run ends, on the root. What is refused makes no folder and leaves no
  /// file in one of others: `check` comes first, and whoever decides by what the folder holds looks again afterwards.
  private func lockDirectory(_ check: () throws -> Void) throws {
    var warning: String?
    try communicator.onRoot {
      try check()
      // A job that a launcher has just killed may need a moment to die.
      let lock = try RunLock(directory: directory.path, patience: 2)
      (self.lock, warning) = (lock, lock.warning)
    }
    if let warning { report("warning: " + warning) }
  }

  private func startAnew(_ check: () throws -> Void) throws {
    try communicator.onRoot {
      try check()
      try directory.removeLeftovers()
      try directory.truncateMetrics(after: 0)
      try describe()
    }
    if let source = origin.source { try trainer.load(from: source) } else { try trainer.initialize() }
  }

  /// Writes what was asked for and where it runs.
  private func describe() throws {
    try directory.write(identity.settings, to: directory.configuration)
    try directory.write(RunEnvironment.json(ranks: communicator.size), to: directory.environment)
  }

  // MARK: Resume

  /// A damaged checkpoint is passed over for an older one and set aside; one of a changed configuration is an error.
  private func resumeFromNewest() throws -> StepMark? {
    try lockDirectory {
      if TrainingCheckpoint.all(in: directory.checkpoints).isEmpty { try directory.requireNothingToLose() }
    }
    let names = try communicator.fromRoot {
      try directory.removeLeftovers()
      return TrainingCheckpoint.all(in: directory.checkpoints).map(\.path).joined(separator: "\0")
    }
    let candidates = names.split(separator: "\0").compactMap { TrainingCheckpoint(path: String($0)) }
    guard !candidates.isEmpty else {
      try startAnew { try directory.requireNothingToLose() }
      return nil
    }
    var refused: [(checkpoint: TrainingCheckpoint, reason: CollectiveFailure)] = []
    for candidate in candidates {
      do {
        try verify(candidate)
      } catch let failure as CollectiveFailure {
        // Whatever keeps a rank from reading it, or is for another version to read, is no damage: an older one will not do.
        let cause = (failure.underlying as? CheckpointError)?.cause ?? .content
        if try communicator.agree(on: cause != .content) { throw failure }
        report("refused \(candidate.path): \(failure)")
        refused.append((candidate, failure))
        continue
      }
      try restore(candidate)
      try communicator.onRoot {
        for (checkpoint, _) in refused { try CommittedDirectories.setAside(checkpoint.path) }
        try continueHere(at: candidate)
      }
      report("resumed at \(candidate.mark.words) from \(candidate.path)")
      return candidate.mark
    }
    let error = NoUsableCheckpoint(
      path: directory.checkpoints, count: candidates.count, reason: "\(refused[0].reason)")
    throw CollectiveFailure(underlying: error, speaks: communicator.isRoot)
  }

  /// A checkpoint of this run directory is continued in place; one of another run begins a new directory.
  private func resumeFrom(_ path: String) throws -> StepMark? {
    let found = try communicator.fromRoot {
      // A link, like `latest`, means what it points to.
      guard
        let checkpoint = TrainingCheckpoint(path: path)
          ?? RunDirectory.realPath(path).flatMap({ TrainingCheckpoint(path: $0) })
      else {
        throw RunDirectoryError(
          path: path, problem: FileBytes.exists(path) ? "not a checkpoint" : "there is no such folder",
          hint: "Say --resume auto for the newest of the run, or name a folder like RUN/checkpoints/step-000500.")
      }
      _ = try checkpoint.opened()
      if !directory.owns(checkpoint) { try directory.requireVacant() }
      return checkpoint.path
    }
    guard let checkpoint = TrainingCheckpoint(path: found) else { preconditionFailure("\(found) was a checkpoint") }
    try lockDirectory {}
    try communicator.onRoot { if !directory.owns(checkpoint) { try directory.requireVacant() } }
    try verify(checkpoint)
    try restore(checkpoint)
    let isOwn = try communicator.agree(on: communicator.isRoot && directory.owns(checkpoint))
    try communicator.onRoot {
      if isOwn {
        try directory.removeLeftovers()
        try continueHere(at: checkpoint)
      } else {
        try describe()
      }
    }
    report("resumed at \(checkpoint.mark.words) from \(checkpoint.path)")
    return isOwn ? checkpoint.mark : nil
  }

  /// Reads all of it, every rank its share.
  private func verify(_ checkpoint: TrainingCheckpoint) throws {
    try communicator.onEveryRank {
      try checkpoint.verify(share: communicator.rank, of: communicator.size, threads: settings.checkpoint.threads)
    }
  }

  /// Refuses a checkpoint of another run; fills every rank's state from it.
  private func restore(_ checkpoint: TrainingCheckpoint) throws {
    let notes = try communicator.fromRoot {
      let (container, state) = try checkpoint.opened(), before = state.identity
      if let difference = identity.difference(from: before) {
        throw RunDirectoryError(
          path: checkpoint.path, problem: "the run cannot go on: \(difference)",
          hint: "Set it back, or start a new run; to train on from these weights name the checkpoint as model.path.")
      }
      let feedbackNote = settings.communication.errorFeedback && !checkpoint.hasFeedback(for: trainer, container, state)
        ? "the checkpoint has no error feedback for this run: it begins anew" : nil
      return [arithmeticNote(before), ranksNote(state), feedbackNote].compactMap { $0 }.joined(separator: "\n")
    }
    for note in notes.split(separator: "\n") { report(String(note)) }
    try communicator.onEveryRank {
      try checkpoint.restore(trainer, threads: settings.checkpoint.threads)
      if let source = origin.source { try trainer.loadTeacher(from: source) }
    }
  }

  private func arithmeticNote(_ before: RunIdentity) -> String? {
    before.arithmetic == identity.arithmetic
      ? nil
      : "the checkpoint was computed with \(before.arithmetic), this run goes on with \(identity.arithmetic): last bits may "
        + "differ from those of an uninterrupted run"
  }

  /// Only exact gradients with exact weights are the same on any ranks.
  private func ranksNote(_ state: CheckpointState) -> String? {
    let c = settings.communication
    guard c.gradients != .exact || c.weights == .delta,
      state.ranks != communicator.size || state.nodes != communicator.nodeDescription
    else { return nil }
    return "the checkpoint was computed on \(state.nodes), this run goes on with \(communicator.nodeDescription): with "
      + "gradients \(c.gradients.rawValue), weights \(c.weights.rawValue) its bits differ from those of an uninterrupted run"
  }

  private func continueHere(at checkpoint: TrainingCheckpoint) throws {
    try directory.truncateMetrics(after: checkpoint.step)
    try directory.markLatest(checkpoint.mark.name)
    try describe()
  }
}
