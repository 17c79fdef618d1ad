/// Why a record cannot be read or a report not be written.
public struct ReportError: Error, Sendable, Hashable, CustomStringConvertible {
  public let path: String
  public let expected: String
  public let found: String
  /// What to do about it; empty when `expected` already says it.
  public let hint: String

  public init(_ path: String, expected: String, found: String, hint: String = "") {
    self.path = path
    self.expected = expected
    self.found = found
    self.hint = hint
  }

  public var description: String {
    "\(path): expected \(expected), found \(found)" + (hint.isEmpty ? "." : ". \(hint).")
  }
}
