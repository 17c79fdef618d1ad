/// What went wrong with a file, in words a person can act on.
///
/// Every refusal of this module is one of these: which operation, on which path and tensor, at which byte, what was
/// expected, what was found, and what to do. Text that comes from files is printed with control characters escaped.
public struct CheckpointError: Error, Sendable, Hashable, CustomStringConvertible {
  /// A verb phrase that follows "cannot": "read the safetensors header of".
  public var operation: String
  public var path: String?
  public var tensor: String?
  /// Byte offset in `path` (for a failed write: bytes of the file written so far).
  public var offset: Int?
  public var expected: String?
  public var found: String?
  public var hint: String?
  public var cause = Cause.content

  /// What an error says of the thing it is about.
  public enum Cause: Sendable, Hashable {
    /// It is not as it should be, or not there.
    case content
    /// Nothing: the system would not let it be read now.
    case system
    /// Nothing: a program of another version wrote it.
    case version
  }

  public init(
    _ operation: String, path: String? = nil, tensor: String? = nil, offset: Int? = nil,
    expected: String? = nil, found: String? = nil, hint: String? = nil
  ) {
    self.operation = operation
    self.path = path
    self.tensor = tensor
    self.offset = offset
    self.expected = expected
    self.found = found
    self.hint = hint
  }

  /// The same error, of a thing that a program of another version wrote.
  public var ofAnotherVersion: CheckpointError { because(.version) }

  /// The same error of another cause.
  func because(_ cause: Cause) -> CheckpointError {
    var error = self
    error.cause = cause
    return error
  }

  /// One sentence, then the hint as a second.
  public var description: String {
    var text = "cannot \(operation)"
    if let path { text += " \(printable(path))" }
    if let tensor { text += ", tensor \"\(printable(tensor))\"" }
    if let offset { text += ", at byte \(offset)" }
    switch (expected, found) {
    case (let expected?, let found?): text += ": expected \(printable(expected)), found \(printable(found))"
    case (let expected?, nil): text += ": expected \(printable(expected))"
    case (nil, let found?): text += ": \(printable(found))"
    case (nil, nil): break
    }
    text += "."
    if let hint { text += " \(printable(hint))." }
    return text
  }
}

/// `text` without control characters and not longer than a line or four: file contents may be hostile to terminals.
func printable(_ text: String, limit: Int = 400) -> String {
  var result = ""
  var count = 0
  for scalar in text.unicodeScalars {
    if count == limit { return result + "…" }
    count += 1
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse:
      result += "\\u{\(String(scalar.value, radix: 16))}"
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result
}
