/// A quantization rule that cannot be followed: a plan that matches nothing, a schedule that does not add up, an
/// anchor that cannot give a format.
public struct QuantizationError: Error, Sendable, Hashable, CustomStringConvertible {
  /// Which part of the rule is wrong. The raw value is the configuration key that states it.
  public enum Subject: String, Sendable {
    case include, exclude, formats, weights, schedule, anchor
    case fractions = "curriculum_fractions"
    case precision = "training.precision.layers"
  }

  public let subject: Subject
  public let expected: String
  public let found: String
  /// What to do about it; empty when `expected` already says it.
  public let hint: String

  public init(_ subject: Subject, expected: String, found: String, hint: String = "") {
    self.subject = subject
    self.expected = expected
    self.found = found
    self.hint = hint
  }

  public var description: String {
    "\(subject.rawValue): expected \(expected), found \(found)" + (hint.isEmpty ? "" : "; \(hint)")
  }
}
