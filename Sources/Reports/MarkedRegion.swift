import Checkpoints

/// The text between `<!-- NAME -->` and `<!-- /NAME -->` in a document, which a command keeps up to date.
public enum MarkedRegion {
  /// `document` with what stands between the markers replaced by `content`, on lines of its own.
  ///
  /// - Parameter path: the name errors use.
  public static func replace(
    _ name: String, in document: String, with content: String, path: String
  ) throws(ReportError) -> String {
    let opening = "<!-- \(name) -->", closing = "<!-- /\(name) -->"
    for marker in [opening, closing] {
      let count = document.ranges(of: marker).count
      guard count == 1 else {
        throw ReportError(
          path, expected: "the marker \(marker) once", found: count == 0 ? "none" : "\(count)",
          hint: "The report goes between \(opening) and \(closing)")
      }
    }
    guard let start = document.firstRange(of: opening), let end = document.firstRange(of: closing),
      start.upperBound <= end.lowerBound
    else { throw ReportError(path, expected: "\(opening) before \(closing)", found: "them the other way round") }
    let body = content.hasSuffix("\n") ? content : content + "\n"
    return document[..<start.upperBound] + "\n" + body + document[end.lowerBound...]
  }

  /// Does it to a file, which is replaced as a whole or not at all.
  public static func replace(_ name: String, inFile path: String, with content: String) throws {
    let document = try WholeFile.text(path)
    let changed = try replace(name, in: document, with: content, path: path)
    try AtomicFile.write(Array(changed.utf8), to: path, replacing: true)
  }
}
