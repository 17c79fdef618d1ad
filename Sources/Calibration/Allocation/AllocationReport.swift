public import Checkpoints
public import Formats
import Transformer

/// What an allocation was based on, what it chose, and what one format everywhere would have given instead.
public struct AllocationReport: Sendable, Hashable {
  public struct Uniform: Sendable, Hashable {
    public let format: MXFormat
    public let bitsPerWeight: Double
    public let predicted: Double
  }

  public let allocation: FormatAllocation
  public let sensitivities: [GroupSensitivity]
  public let errors: FormatErrors
  public let settings: NoiseSensitivity
  public let objective: OutputProbe.Objective
  public let tokensScored: Int
  /// Bits per weight that were allowed.
  public let budget: Double

  /// Allocates: what `FormatAllocation.best` gives, with its grounds.
  public init(
    _ sensitivities: [GroupSensitivity], errors: FormatErrors, budget: Double, settings: NoiseSensitivity,
    objective: OutputProbe.Objective, tokensScored: Int
  ) throws(CalibrationError) {
    allocation = try .best(
      groups: sensitivities.map(\.group), alphas: sensitivities.map(\.alpha), errors: errors, bitsPerWeight: budget)
    self.sensitivities = sensitivities
    self.errors = errors
    self.settings = settings
    self.objective = objective
    self.tokensScored = tokensScored
    self.budget = budget
  }

  public var plan: AllocationPlan { allocation.plan }

  /// Every candidate alone, in the order of the candidates.
  public var uniform: [Uniform] {
    errors.formats.map { format in
      let all = FormatAllocation.uniform(
        groups: allocation.groups, alphas: sensitivities.map(\.alpha), errors: errors, format: format)
      return Uniform(format: format, bitsPerWeight: all.bitsPerWeight, predicted: all.predicted)
    }
  }

  public var json: JSONValue {
    [
      "budget_bits_per_weight": .number(budget), "bits_per_weight": .number(allocation.bitsPerWeight),
      "predicted": .number(allocation.predicted), "objective": .string(objective.rawValue),
      "tokens_scored": .integer(tokensScored),
      "noise": [
        "kind": .string(settings.noise.rawValue), "levels": .array(settings.levels.map { .number($0) }),
        "draws": .integer(settings.draws), "seed": .string(String(settings.seed)),
      ],
      "candidates": .array(errors.formats.map { .string($0.name) }),
      "groups": .array(sensitivities.indices.map(group)),
      "uniform": .array(
        uniform.map { one in
          [
            "format": .string(one.format.name), "bits_per_weight": .number(one.bitsPerWeight),
            "predicted": .number(one.predicted),
          ]
        }),
    ]
  }

  private func group(_ index: Int) -> JSONValue {
    let group = allocation.groups[index]
    return [
      "name": .string(group.name), "tensors": .array(group.tensors.map { .string($0.name) }),
      "weights": .integer(group.weights), "alpha": .number(sensitivities[index].alpha),
      "changes": .array(
        sensitivities[index].samples.map { [ "level": .number($0.level), "change": .number($0.change)] }),
      "squared_errors": .array(errors.squares[index].map { .number($0) }),
      "format": .string(allocation.formats[index].name), "bytes": .integer(group.bytes(in: allocation.formats[index])),
      "predicted": .number(allocation.shares[index]),
    ]
  }

  /// A line a group, for whatever prints tables: names, then figures of four digits.
  public var table: (header: [String], rows: [[String]]) {
    let rows = allocation.groups.indices.map { index -> [String] in
      let group = allocation.groups[index], format = allocation.formats[index]
      let square = errors.formats.firstIndex(of: format).map { errors.squares[index][$0] } ?? 0
      return [
        group.name, String(group.weights), Self.digits(sensitivities[index].alpha), format.name, Self.digits(square),
        Self.digits(allocation.shares[index]),
      ]
    }
    return (["group", "weights", "alpha", "format", "squared error", "predicted"], rows)
  }

  /// Four significant digits, in the shortest spelling.
  private static func digits(_ value: Double) -> String {
    guard value != 0, value.isFinite else { return "\(value)" }
    var scale = 1.0
    while value.magnitude * scale < 1000 && scale < 1e300 { scale *= 10 }
    while value.magnitude * scale >= 10_000 { scale /= 10 }
    return "\((value * scale).rounded() / scale)"
  }
}
