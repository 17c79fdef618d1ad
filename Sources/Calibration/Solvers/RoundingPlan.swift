public import Formats
public import Kernels

/// How the weights of a linear layer become codes.
public struct RoundingPlan: Sendable, Hashable {
  /// What is stored.
  public var format: MXFormat
  /// What the solver counts errors of, if not the stored format: slices of an anchor, the anchor among them where wanted.
  public var targets: [RoundingTarget]
  public var method: RoundingMethod
  public var scales: ScaleSearch
  public var order: ColumnOrder
  /// λ: H = C + λ · mean(diag C) · I, of columns that are not dead.
  public var damping: Double

  public init(
    format: MXFormat, targets: [RoundingTarget] = [], method: RoundingMethod = .columns(.current),
    scales: ScaleSearch = .rule(.floor), order: ColumnOrder = .natural, damping: Double = 0.01
  ) {
    self.format = format
    self.targets = targets
    self.method = method
    self.scales = scales
    self.order = order
    self.damping = damping
  }

  /// What does not fit together, and what to do about it.
  public var problem: (problem: String, hint: String?)? {
    if let problem = scales.problem { return (problem, nil) }
    if !(damping >= 0 && damping <= 1) { return ("damping \(damping) is not in 0...1", nil) }
    if order == .descendingEnergy && method != .columns(.frozen) {
      return ("columns by descending energy need scales that stand before the first is rounded",
        "Use the method columns with frozen scales")
    }
    guard !targets.isEmpty else { return nil }
    if method != .columns(.frozen) || !scales.isFloor {
      return ("an anchor rounded for its slices needs frozen scales of the floor rule", nil)
    }
    if targets.count > 8 { return ("\(targets.count) targets; 8 fit", nil) }
    for target in targets {
      if !format.isAnchor || !SlicePlan.formatsCut(from: format).contains(target.format) {
        return ("\(target.format) cannot be cut from \(format)", nil)
      }
      if !(target.weight > 0 && target.weight < 1e6) { return ("\(target.format) has the weight \(target.weight)", nil) }
    }
    if Set(targets.map(\.format)).count != targets.count { return ("a target is named twice", nil) }
    return nil
  }
}

/// A format that an anchor is rounded for.
public struct RoundingTarget: Sendable, Hashable {
  public var format: MXFormat
  /// Of its squared error in the choice of a code; only ratios matter.
  public var weight: Double

  public init(_ format: MXFormat, weight: Double = 1) {
    self.format = format
    self.weight = weight
  }
}

public enum RoundingMethod: Sendable, Hashable {
  /// Every weight to its nearest element.
  case nearest
  /// GPTQ (arXiv 2210.17323): a column at a time, columns behind it take up its error.
  case columns(ColumnScales)
  /// A block of 32 at a time, its scale from the weights that are rounded (arXiv 2405.07135): scale and elements agree, but
  /// columns of a block do not take up each other's errors.
  case blocks
}

/// When the scales of column-wise rounding are chosen.
public enum ColumnScales: Sendable, Hashable {
  /// A block's when its first column is reached, from the weights as the errors before it left them.
  case current
  /// All before the first column, from the weights themselves.
  case frozen
}

public enum ColumnOrder: Sendable, Hashable {
  case natural
  /// The columns of most energy first, while there are most others to take up their errors ("act-order").
  case descendingEnergy
}
