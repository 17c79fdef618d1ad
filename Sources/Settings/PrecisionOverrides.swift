public import Quantization

/// `training.precision.layers`, checked against the names of a model.
public struct PrecisionOverrides: Sendable {
  private struct Rule {
    let text: String
    let pattern: GlobPattern
    let change: Change
  }

  enum Change: Sendable {
    case policy(RotationPolicy)
    case precision(MatmulPrecision)

    init?(_ name: String) {
      if let policy = RotationPolicy(rawValue: name) { self = .policy(policy) }
      else if let precision = MatmulPrecision(rawValue: name) { self = .precision(precision) }
      else { return nil }
    }

    static let names = RotationPolicy.allCases.map(\.rawValue) + MatmulPrecision.allCases.map(\.rawValue)
  }

  private let rules: [Rule]

  init(_ mapping: ConfigurationMapping, names: [String]) throws(QuantizationError) {
    var rules: [Rule] = []
    for entry in mapping.entries {
      guard case .text(let value) = entry.value, let change = Change(value) else {
        preconditionFailure("\(entry.value.json) for \(entry.key): validation refuses it")
      }
      let pattern = try GlobPattern(entry.key, for: .precision)
      guard names.contains(where: pattern.matches) else {
        throw QuantizationError(
          .precision, expected: "a pattern that matches a tensor",
          found: "'\(entry.key)', which matches none of \(names.count)",
          hint: NearestName.to(entry.key, among: names).map { "the nearest name is \($0)" } ?? "")
      }
      rules.append(Rule(text: entry.key, pattern: pattern, change: change))
    }
    self.rules = rules
  }

  /// The arithmetic of a product whose weight is these tensors together.
  ///
  /// - Throws: `QuantizationError` where they would differ: one product has one arithmetic.
  public func arithmetic(
    of names: [String], default wish: LinearArithmetic
  ) throws(QuantizationError) -> LinearArithmetic {
    var found = wish
    for (index, name) in names.enumerated() {
      var arithmetic = wish
      for rule in rules where rule.pattern.matches(name) {
        switch rule.change {
        case .policy(let policy): arithmetic.policy = policy
        case .precision(let precision): arithmetic = arithmetic.running(in: precision)
        }
      }
      if index > 0, arithmetic != found {
        throw QuantizationError(
          .precision, expected: "one arithmetic for \(names.joined(separator: ", ")), which are one product",
          found: "patterns that match some of them", hint: "write a pattern that matches all")
      }
      found = arithmetic
    }
    return found
  }
}

extension PrecisionSettings {
  /// - Throws: `QuantizationError` for a pattern that matches nothing.
  public func overrides(for names: [String]) throws(QuantizationError) -> PrecisionOverrides {
    try PrecisionOverrides(layers, names: names)
  }
}
