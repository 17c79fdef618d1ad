/// Why a calibration cannot go on: its data, its numbers, or a method that does not fit the model.
public struct CalibrationError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What is wrong with: a file, a tensor, `model.layers.3, input of o_proj`.
  public let subject: String
  public let problem: String
  /// What to do about it.
  public let hint: String?

  public init(_ subject: String, _ problem: String, hint: String? = nil) {
    self.subject = subject
    self.problem = problem
    self.hint = hint
  }

  public var description: String { hint.map { "\(subject): \(problem). \($0)" } ?? "\(subject): \(problem)." }
}
