import Checkpoints
import Communication
import Settings

/// When a run saves, and what becomes of a save that fails.
extension TrainingRun {
  enum Urgency {
    /// The run goes on afterwards: it may be written beside training, and may fail if the settings say so.
    case scheduled
    /// The run ends with it.
    case last
    /// The run ends with it because a step has failed.
    case afterFailure
  }

  /// Collective. One save is in flight at most: this one waits for it.
  func save(_ urgency: Urgency) throws {
    try settle(waiting: true)
    try allowingFailure(of: trainer.mark, urgency) {
      let start = PhaseClock.now
      let save = try CheckpointSave(
        trainer, origin: origin, identity: identity, in: directory.checkpoints, threads: settings.checkpoint.threads,
        copy: urgency == .scheduled ? copy : nil, verifies: settings.checkpoint.verify,
        afterFailure: urgency == .afterFailure)
      inFlight = (save, PhaseClock.now - start)
      if !save.isInBackground { try complete() }
    }
  }

  /// Collective: commits the save in flight, which is a scheduled one, if every rank has written its part.
  func settle(waiting: Bool) throws {
    guard let (save, lost) = inFlight else { return }
    let start = PhaseClock.now
    if !waiting, try communicator.agree(on: !save.isWritten) {
      inFlight = (save, lost + PhaseClock.now - start)
      return
    }
    try allowingFailure(of: save.mark, .scheduled) { try complete() }
  }

  private func complete() throws {
    guard let (save, before) = inFlight else { return }
    inFlight = nil
    let start = PhaseClock.now
    let result = try save.finish()
    lastSaved = save.mark
    // The checkpoint is there: what fails from here on is told, and undone by nothing.
    var complaints = result.complaints
    if communicator.isRoot {
      do { try directory.markLatest(save.mark.name) } catch { complaints.append("\(error)") }
      complaints += directory.prune(
        keeping: settings.checkpoint.keep, keepEvery: settings.checkpoint.keepEvery, upTo: save.mark)
    }
    let lost = before + PhaseClock.now - start
    try communicator.onRoot { try metrics?.append(result, lost: lost) }
    for complaint in complaints { report("warning: \(complaint)") }
    report(line(result, lost: lost, inBackground: save.isInBackground))
  }

  private func line(_ result: CheckpointSave.Result, lost: Double, inBackground: Bool) -> String {
    let name = result.mark.name
    if result.isKept { return "checkpoint \(name) is there already, verifies and holds the same: it stays" }
    return "saved checkpoint \(name): \(Figures.bytes(result.storedBytes)) for \(Figures.bytes(result.contentBytes)) of state, "
      + (inBackground ? "written in \(Figures.fixed(result.writingSeconds, 2)) s beside training, " : "")
      + "\(Figures.fixed(lost, 2)) s of training lost"
  }

  /// What stands after a failed save is the checkpoint before it; whether the run goes on is for the settings to say.
  private func allowingFailure(of mark: StepMark, _ urgency: Urgency, _ work: () throws -> Void) throws {
    do {
      try work()
    } catch let failure as CollectiveFailure {
      guard urgency == .scheduled, settings.checkpoint.onFailure == .continue else { throw failure }
      report(
        "warning: the checkpoint of \(mark.words) failed: \(failure)"
          + (lastSaved.map { " That of \($0.words) stands." } ?? "") + " Training goes on; the next is tried in its turn.")
    }
  }
}
