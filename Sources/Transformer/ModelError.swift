/// Why a model description or its weights cannot be used.
public struct ModelError: Error, Sendable, CustomStringConvertible {
  /// File or folder, or what else the description came from.
  public let source: String
  public let problem: String
  public let hint: String?

  public init(_ source: String, _ problem: String, hint: String? = nil) {
    self.source = source
    self.problem = problem
    self.hint = hint
  }

  public var description: String {
    hint.map { "\(source): \(problem). \($0)" } ?? "\(source): \(problem)."
  }
}
