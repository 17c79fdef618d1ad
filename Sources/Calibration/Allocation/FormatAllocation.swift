public import Formats

/// One format per group, chosen for the least predicted change Σ α_g t²_g within a budget of bits.
///
/// The budget is in bits per weight, weighted by parameters: all bytes of the packed tensors, scales and row tails
/// included, over all their weights. (Public prototypes count layers instead, which favours the wrong ones.) It is never
/// exceeded, not by a byte.
public struct FormatAllocation: Sendable, Hashable {
  public let groups: [AllocationGroup]
  /// Of each group.
  public let formats: [MXFormat]
  /// Σ α t², nats a token.
  public let predicted: Double
  /// α t² of each group.
  public let shares: [Double]
  public let bytes: Int

  public var weights: Int { groups.reduce(0) { $0 + $1.weights } }
  public var bitsPerWeight: Double { 8 * Double(bytes) / Double(weights) }
  public var plan: AllocationPlan { AllocationPlan(groups, formats) }

  /// The best allocation within `bitsPerWeight`.
  ///
  /// A negative α counts as 0: noise does not improve a model, a measurement of few draws may say so.
  ///
  /// - Throws: `CalibrationError` where the budget does not hold the smallest formats, saying what does.
  public static func best(
    groups: [AllocationGroup], alphas: [Double], errors: FormatErrors, bitsPerWeight: Double
  ) throws(CalibrationError) -> FormatAllocation {
    check(groups, alphas, errors)
    let problem = problem(groups, alphas, errors)
    let weights = groups.reduce(0) { $0 + $1.weights }
    let least = problem.leastBytes
    // A budget that names a format's own figure holds that format, whatever the decimals of the division were.
    let budget = Int((bitsPerWeight * Double(weights) / 8 * (1 + 0x1p-40)).rounded(.down))
    guard let choice = problem.solve(budget: budget) else {
      throw CalibrationError("bits per weight", "the budget of \(bitsPerWeight) holds none of the candidates",
        hint: "The smallest of \(errors.formats.map(\.name).joined(separator: ", ")) need "
          + "\((8 * Double(least) / Double(weights) * 1000).rounded(.up) / 1000).")
    }
    return FormatAllocation(groups, choice, problem, errors.formats)
  }

  /// Every group in one of the candidates: what a budget can be compared with.
  public static func uniform(
    groups: [AllocationGroup], alphas: [Double], errors: FormatErrors, format: MXFormat
  ) -> FormatAllocation {
    check(groups, alphas, errors)
    guard let column = errors.formats.firstIndex(of: format) else {
      preconditionFailure("\(format) is none of the candidates")
    }
    return FormatAllocation(
      groups, Array(repeating: column, count: groups.count), problem(groups, alphas, errors), errors.formats)
  }

  private init(_ groups: [AllocationGroup], _ choice: [Int], _ problem: BudgetProblem, _ candidates: [MXFormat]) {
    self.groups = groups
    formats = choice.map { candidates[$0] }
    shares = choice.enumerated().map { problem.costs[$0][$1] }
    predicted = problem.cost(of: choice)
    bytes = problem.bytes(of: choice)
  }

  private static func check(_ groups: [AllocationGroup], _ alphas: [Double], _ errors: FormatErrors) {
    precondition(
      !groups.isEmpty && groups.count == alphas.count && groups.count == errors.squares.count,
      "\(groups.count) groups, \(alphas.count) sensitivities, \(errors.squares.count) rows of errors")
    precondition(alphas.allSatisfy(\.isFinite), "a finite sensitivity of every group")
  }

  private static func problem(
    _ groups: [AllocationGroup], _ alphas: [Double], _ errors: FormatErrors
  ) -> BudgetProblem {
    BudgetProblem(
      costs: zip(alphas, errors.squares).map { alpha, squares in squares.map { max(0, alpha) * $0 } },
      bytes: groups.map { group in errors.formats.map { group.bytes(in: $0) } })
  }
}
