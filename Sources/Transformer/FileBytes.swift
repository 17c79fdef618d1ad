#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Small files read whole: configurations and tokenizers.
public enum FileBytes {
  public static func read(_ path: String) throws(ModelError) -> [UInt8] {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ModelError(path, exists(path) ? "the file cannot be read" : "there is no such file")
    }
    return Array(data)
  }

  public static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

  public static func isDirectory(_ path: String) -> Bool {
    var isDirectory = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) && isDirectory
  }

  /// Names in a folder, sorted; none where there is no folder.
  public static func names(in folder: String) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted()
  }
}
