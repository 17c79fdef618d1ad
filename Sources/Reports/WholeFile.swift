#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Small text files read whole.
enum WholeFile {
  static func text(_ path: String) throws(ReportError) -> String {
    guard let data = FileManager.default.contents(atPath: path) else {
      let exists = FileManager.default.fileExists(atPath: path)
      throw ReportError(path, expected: "a readable file", found: exists ? "one that cannot be read" : "no such file")
    }
    guard let text = String(data: data, encoding: .utf8) else {
      throw ReportError(path, expected: "text in UTF-8", found: "something else")
    }
    return text
  }
}
