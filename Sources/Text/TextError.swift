/// What went wrong with a tokenizer, a text or a token file, and what to do about it.
///
/// One type for the module: `operation` was being done on `path`; `expected` is what would have been accepted,
/// `found` what is there, `advice` the next step for whoever runs the program.
public struct TextError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What the error is about, for callers that react to it.
  public enum Kind: String, Hashable, Sendable {
    /// A file could not be opened, read, mapped or written.
    case system
    /// A file is not what its name or place says: not JSON, not UTF-8, not a token file.
    case malformed
    /// A tokenizer stage, option or pattern that this module does not implement.
    case unsupported
    /// The parts of a file contradict each other: a merge of unknown tokens, a hash that does not match.
    case inconsistent
    /// The text is too short for what is asked of it.
    case tooShort
  }

  public let kind: Kind
  public let operation: String
  public let path: String
  public let expected: String
  public let found: String
  public let advice: String

  public init(
    _ kind: Kind, operation: String, path: String, expected: String, found: String, advice: String = ""
  ) {
    self.kind = kind
    self.operation = operation
    self.path = path
    self.expected = expected
    self.found = found
    self.advice = advice
  }

  public var description: String {
    let statement = "\(path): \(operation): expected \(expected), found \(found)"
    return advice.isEmpty ? statement : "\(statement); \(advice)"
  }
}
