package import CKernels
public import Formats

/// How the E8M0 scale of a block is chosen when rounding weights, beyond the rule by its largest magnitude.
///
/// There are only powers of two to choose from: the scale bytes of a container are all that a low-precision product reads.
/// MXFP4's factor 4/3 for a whole tensor is therefore not offered, and not missed: it does not lower the squared error of
/// bell-shaped data (Gaussian 1.389e-2 with it, 1.321e-2 by the floor rule, 1.245e-2 by the better of two exponents), and
/// what it avoids, saturation of a block's maximum, ``ScaleRule/rceil`` avoids as well.
public enum ScaleSearch: Sendable, Hashable {
  /// The rule's exponent. Anchors take ``ScaleRule/floor``: slices of them are valid for it alone.
  case rule(ScaleRule)
  /// The floor rule's exponent or the next, whichever has the lower squared error; on a tie the rule's.
  case betterOfTwo
  /// Of the exponents `from` (at most 0) below to `through` above the floor rule's the one with the least
  /// Σ|w - q|^norm: clipping by powers of two. GPTQ's reference code takes norm 2.4, MR-GPTQ's paper 2.
  case search(norm: Float, from: Int, through: Int)

  /// Whether all blocks follow the floor rule, as those of anchors must.
  public var isFloor: Bool { self == .rule(.floor) }

  /// What is wrong with its numbers, if anything.
  public var problem: String? {
    guard case .search(let norm, let from, let through) = self else { return nil }
    if !(norm >= 1 && norm <= 8) { return "an error norm of \(norm): 1...8 make sense" }
    if !(-16...0).contains(from) || !(0...16).contains(through) {
      return "exponents \(from)...\(through) around the rule's: from -16...0 through 0...16"
    }
    return nil
  }

  package var ckSearch: ck_scale_search {
    switch self {
    case .rule(let rule): ck_scale_search(rule: Int32(rule.ckScaleRule.rawValue), from: 0, through: 0, norm: 2)
    case .betterOfTwo: ck_scale_search(rule: Int32(CK_SCALE_FLOOR.rawValue), from: 0, through: 1, norm: 2)
    case .search(let norm, let from, let through):
      ck_scale_search(rule: Int32(CK_SCALE_FLOOR.rawValue), from: Int32(from), through: Int32(through), norm: norm)
    }
  }
}
