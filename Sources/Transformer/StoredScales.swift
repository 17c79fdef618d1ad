public import Formats

/// Where the block scales of an anchor come from.
public enum StoredScales: Sendable, Hashable, CustomStringConvertible {
  /// Each follows from the largest magnitude of its block.
  case rule(ScaleRule)
  /// A solver chose them together with the codes: they are what they are, and no lower format can be cut.
  case fitted

  private static let fittedName = "fitted"

  /// What the container writes under `scale_rule`.
  public var name: String {
    switch self {
    case .rule(let rule): rule.name
    case .fitted: Self.fittedName
    }
  }

  public init?(_ name: String) {
    if name.lowercased() == Self.fittedName {
      self = .fitted
    } else {
      guard let rule = ScaleRule(name) else { return nil }
      self = .rule(rule)
    }
  }

  public static var names: [String] { ScaleRule.allCases.map(\.name) + [fittedName] }

  /// Whether lower formats may be cut: the rule `floor` alone keeps the scales of two formats a constant apart.
  public var permitsSlices: Bool { self == .rule(.floor) }

  /// Continues "the scales of this anchor".
  public var description: String {
    switch self {
    case .rule(let rule): "follow the rule '\(rule.name)'"
    case .fitted: "were fitted by a solver"
    }
  }
}
