package import Checkpoints
import Transformer

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The folder of one run.
///
///   config.resolved.yaml   every key, as used          environment.json   machine, kernels, ranks
///   metrics.jsonl          one object a step           checkpoints/step-000500/ …   latest -> the newest
///   anchor/                what the run is for
///   stalled-rank-003.txt   why a watchdog ended the last attempt
///   lock                   who writes here now (`RunLock`)
///
/// Only the root touches it.
package struct RunDirectory {
  package let path: String

  package init(path: String) { self.path = path }

  var configuration: String { path + "/config.resolved.yaml" }
  var environment: String { path + "/environment.json" }
  package var metrics: String { path + "/metrics.jsonl" }
  package var checkpoints: String { path + "/checkpoints" }
  var anchor: String { path + "/anchor" }
  private var latest: String { path + "/latest" }

  // MARK: Beginning

  /// Refuses a folder that holds anything but a lock and the markers of ranks that stalled before anything was written.
  package func requireVacant() throws(RunDirectoryError) {
    let held = FileBytes.names(in: path).filter {
      $0 != RunLock.fileName && !$0.hasPrefix(Watchdog.Subject.markerPrefix)
    }
    guard let first = held.first else { return }
    throw RunDirectoryError(
      path: path,
      problem: "the folder exists and holds \(first)" + (held.count > 1 ? " and \(held.count - 1) more" : ""),
      hint: "Continue that run with --resume auto, or choose another folder with --set logging.directory=…")
  }

  /// Refuses a folder that is neither vacant nor that of a run that was stopped before its first checkpoint.
  package func requireNothingToLose() throws(RunDirectoryError) {
    guard FileBytes.exists(configuration) else { return try requireVacant() }
    let saved = FileBytes.names(in: checkpoints).filter { !CommittedDirectories.isLeftover($0) }
    let kept = saved.map { "checkpoints/" + $0 } + (FileBytes.exists(anchor) ? ["anchor"] : [])
    guard let first = kept.first else { return }
    throw RunDirectoryError(
      path: path, problem: "the run has no checkpoint that can be used, but \(first)",
      hint: "Move it away, or choose another folder with --set logging.directory=…")
  }

  /// Removes what a killed process of this run left half written, and the markers of ranks that stalled.
  package func removeLeftovers() throws(CheckpointError) {
    for name in FileBytes.names(in: path) where name.hasPrefix(Watchdog.Subject.markerPrefix) {
      unsafe _ = unlink(path + "/" + name)
    }
    try CommittedDirectories.removeLeftovers(in: checkpoints, prefix: "step-")
    for file in [configuration, environment, metrics, anchor] {
      let name = String(file.dropFirst(path.count + 1))
      try CommittedDirectories.removeLeftovers(in: path, prefix: name)
    }
  }

  func write(_ text: String, to file: String) throws(CheckpointError) {
    try AtomicFile.write(Array(text.utf8), to: file, replacing: true)
  }

  // MARK: Checkpoints

  /// Whether the checkpoint at `path` is one of this run's.
  func owns(_ checkpoint: TrainingCheckpoint) -> Bool {
    guard let own = Self.realPath(checkpoints), let found = Self.realPath(checkpoint.path) else { return false }
    return found == own + "/" + checkpoint.mark.name
  }

  /// `path` without links; nil if there is nothing.
  static func realPath(_ path: String) -> String? {
    guard let resolved = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
  }

  /// Points `latest` at a checkpoint; at no instant does it point nowhere.
  func markLatest(_ name: String) throws(RunDirectoryError) {
    let new = latest + ".new"
    unsafe _ = unlink(new)
    guard unsafe symlink("checkpoints/" + name, new) == 0, unsafe rename(new, latest) == 0 else {
      throw RunDirectoryError(path: latest, cannot: "be pointed at \(name)", errno)
    }
  }

  /// Keeps the newest `count` checkpoints up to `mark`, every one whose step is a multiple of `keepEvery` (0: none is),
  /// and later ones, which a resumed run will replace.
  ///
  /// What cannot be deleted is no reason to stop: the others go all the same, and the next call and the next start try
  /// again. A checkpoint that is still listed is whole.
  ///
  /// - Returns: a complaint for each that is still there, or still takes room.
  package func prune(keeping count: Int, keepEvery: Int = 0, upTo mark: StepMark) -> [String] {
    precondition(count >= 1 && keepEvery >= 0, "keeping \(count) checkpoints and each of \(keepEvery) steps")
    let old = TrainingCheckpoint.all(in: checkpoints).filter { $0.mark <= mark }.dropFirst(count)
      .filter { keepEvery == 0 || $0.mark.microBatches > 0 || !$0.step.isMultiple(of: keepEvery) }
    // Those that earlier calls left.
    var complaints = CommittedDirectories.removeTrash(in: checkpoints, prefix: "step-")
    for checkpoint in old {
      do throws(CheckpointError) {
        try CommittedDirectories.remove(checkpoint.path)
      } catch {
        complaints.append(error)
      }
    }
    return complaints.map(\.description)
  }

  // MARK: Metrics

  /// Drops the lines of steps after `step`: a resumed run writes them again.
  func truncateMetrics(after step: Int) throws {
    guard FileBytes.exists(metrics) else { return }
    let lines = String(decoding: try FileBytes.read(metrics), as: UTF8.self).split(separator: "\n")
    let kept = lines.filter { line in
      (try? JSONScanner.parse(Array(line.utf8)))?["step"]?.integer.map { $0 <= step } ?? false
    }
    try write(kept.map { $0 + "\n" }.joined(), to: metrics)
  }
}

package struct RunDirectoryError: Error, CustomStringConvertible {
  let path: String, problem: String, hint: String

  init(path: String, problem: String, hint: String) {
    (self.path, self.problem, self.hint) = (path, problem, hint)
  }

  /// What the operating system refused.
  init(path: String, cannot operation: String, _ code: Int32) {
    let reason = unsafe String(cString: strerror(code))
    let hint =
      switch code {
      case ENOSPC, EDQUOT: "Free space there, or choose another folder with --set logging.directory=…"
      case EACCES, EPERM, EROFS: "Check the permissions of the folder."
      default: "Check the path."
      }
    self.init(path: path, problem: "cannot \(operation): \(reason) (errno \(code))", hint: hint)
  }

  /// What kept the directory from being made.
  init(path: String, _ error: CheckpointError) {
    self.init(
      path: error.path ?? path, problem: "cannot \(error.operation): \(error.found ?? "no reason given")",
      hint: (error.hint ?? "Check the path") + ".")
  }

  package var description: String { "\(path): \(problem). \(hint)" }
}
