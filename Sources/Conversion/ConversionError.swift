/// Why a model cannot be converted as asked.
public struct ConversionError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The path concerned: source or output.
  public let path: String
  public let problem: String
  public let hint: String?

  public init(_ path: String, _ problem: String, hint: String? = nil) {
    self.path = path
    self.problem = problem
    self.hint = hint
  }

  public var description: String {
    hint.map { "\(path): \(problem). \($0)" } ?? "\(path): \(problem)."
  }
}
