public import Foundation

/// Models, texts and golden values that live beside the checkout and are never part of it.
///
/// `MFQAT_DATA` names the folder; otherwise `../shared/data` next to the package is tried. Suites that need it use
/// `.enabled(if: SharedData.isPresent, SharedData.absence)` so that a run without it says what it left out.
public enum SharedData {
  public static let root: URL? = {
    let fileManager = FileManager.default
    if let path = ProcessInfo.processInfo.environment["MFQAT_DATA"] {
      return fileManager.fileExists(atPath: path) ? URL(fileURLWithPath: path) : nil
    }
    let package = URL(fileURLWithPath: #filePath)
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let beside = package.deletingLastPathComponent().appendingPathComponent("shared/data")
    return fileManager.fileExists(atPath: beside.path) ? beside : nil
  }()

  public static var isPresent: Bool { root != nil }
  public static let absence = "shared data is absent: set MFQAT_DATA to its folder"

  public static func url(_ path: String) -> URL { root!.appendingPathComponent(path) }
  public static func data(_ path: String) throws -> Data { try Data(contentsOf: url(path)) }
}
