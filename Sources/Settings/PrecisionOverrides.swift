public import Quantization

/// `training.precision.layers`, checked against the names of a model.
public struct PrecisionOverrides: Sendable {
  private struct Rule {
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
      rules.append(Rule(pattern: pattern, change: change))
    }
    self.rules = rules
  }

  /// The arithmetic of a product whose weight is these tensors together. The last matching policy and the last matching
  /// precision hold, each for itself.
  ///
  /// - Throws: `QuantizationError` where the tensors would differ, since one product has one arithmetic, and where patterns
  ///   together ask for HALO in a precision that it does not have.
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
      if arithmetic.isHALO, let other = arithmetic.precisions.first(where: { $0 == .mx || $0 == .bf16 }) {
        throw QuantizationError(
          .precision, expected: "contraction or none with \(other.rawValue)",
          found: "\(arithmetic.policy.rawValue) for \(name), which two patterns match",
          hint: "HALO has one scale a tensor: use it with int8 or fp32")
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

  /// The arithmetic of the output head: a pattern for all layers brings no HALO to it (``PrecisionSettings/ofHead``).
  public func arithmetic(ofHead name: String, default wish: LinearArithmetic) -> LinearArithmetic {
    var arithmetic = wish
    for rule in rules where rule.pattern.matches(name) {
      switch rule.change {
      case .policy(let policy): arithmetic.policy = policy.scalesWholeTensors ? .contraction : policy
      case .precision(let precision): arithmetic = arithmetic.running(in: precision)
      }
    }
    return arithmetic
  }
}

extension PrecisionSettings {
  /// - Throws: `QuantizationError` for a pattern that matches nothing.
  public func overrides(for names: [String]) throws(QuantizationError) -> PrecisionOverrides {
    try PrecisionOverrides(layers, names: names)
  }
}
