import Checkpoints
import Transformer

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The folder of one run.
///
///   config.resolved.yaml   every key, as used          environment.json   machine, kernels, ranks
///   metrics.jsonl          one object a step           checkpoints/step-000500/ …   latest -> the newest
///   anchor/                what the run is for
///
/// Only the root touches it.
struct RunDirectory {
  let path: String

  var configuration: String { path + "/config.resolved.yaml" }
  var environment: String { path + "/environment.json" }
  var metrics: String { path + "/metrics.jsonl" }
  var checkpoints: String { path + "/checkpoints" }
  var anchor: String { path + "/anchor" }
  private var latest: String { path + "/latest" }

  /// Creates the folder of a new run; a folder that holds anything is refused.
  func create() throws {
    let held = FileBytes.names(in: path)
    guard held.isEmpty else {
      throw RunDirectoryError(path: path, problem: "the folder exists and holds \(held.count) entries (\(held[0]), …)",
        hint: "Continue that run with --resume auto, or choose another folder with --set logging.directory=…")
    }
    try FileManager.default.createDirectory(atPath: checkpoints, withIntermediateDirectories: true)
  }

  func write(_ text: String, to file: String) throws { try AtomicFile.write(Array(text.utf8), to: file, replacing: true) }

  /// Points `latest` at a checkpoint.
  func markLatest(_ name: String) throws {
    try? FileManager.default.removeItem(atPath: latest)
    try FileManager.default.createSymbolicLink(atPath: latest, withDestinationPath: "checkpoints/" + name)
  }

  /// Keeps the newest `count` checkpoints.
  func prune(keeping count: Int) throws {
    for old in TrainingCheckpoint.all(in: checkpoints).dropFirst(count) { try CommittedDirectories.remove(old.path) }
  }

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

struct RunDirectoryError: Error, CustomStringConvertible {
  let path: String, problem: String, hint: String
  var description: String { "\(path): \(problem). \(hint)" }
}
