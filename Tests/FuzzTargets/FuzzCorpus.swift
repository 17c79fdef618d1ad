import Checkpoints
public import Foundation

/// The inputs every fuzzer begins with, in `Tests/Corpus/<target>`: seeds that `write` makes, and one file for each
/// finding of the past, `finding-….bin`, which stays.
public enum FuzzCorpus {
  public static let folder = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Corpus")

  /// The inputs of `target` in the order of their names.
  public static func inputs(of target: FuzzTarget) throws -> [(name: String, bytes: [UInt8])] {
    let place = folder.appendingPathComponent(target.rawValue)
    return try FileManager.default.contentsOfDirectory(atPath: place.path).sorted().map { name in
      (name, [UInt8](try Data(contentsOf: place.appendingPathComponent(name))))
    }
  }

  /// Writes the fixtures and all seeds into the folder `path`; what is there already under other names stays.
  public static func write(to path: String) throws {
    let root = URL(fileURLWithPath: path)
    try put(try FuzzSeeds.container(), root.appendingPathComponent("fixtures/container"))
    try put(try FuzzSeeds.shards(), root.appendingPathComponent("fixtures/shards"))
    for target in FuzzTarget.allCases {
      try put(try FuzzSeeds.seeds(target), root.appendingPathComponent(target.rawValue))
    }
  }

  private static func put(_ files: [String: [UInt8]], _ folder: URL) throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for (name, bytes) in files { try Data(bytes).write(to: folder.appendingPathComponent(name)) }
  }
}
