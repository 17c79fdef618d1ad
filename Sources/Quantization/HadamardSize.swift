/// An axis of `size` elements as a Hadamard rotation sees it: size = order · power, H = H_order ⊗ H_power.
///
/// The power of two is a fast transform (log₂ power additions an element), the rest a dense matrix (`order` additions
/// an element), so the order is the smallest that is offered: 576 = 36 · 16, 768 = 12 · 64, 1024 = 1 · 1024,
/// 4864 = 76 · 64, 11008 = 172 · 64.
///
/// There is no padding to a size that would be easier: the transform of a padded axis, cut back, is not orthogonal.
public struct HadamardSize: Sendable, Hashable {
  public let size: Int
  /// Of the dense factor: 1, or 4 · m with size = 4 · m · power (8 · m ... where 4 · m has no matrix).
  public let order: Int
  /// Of Sylvester's factor: a power of two.
  public let power: Int

  /// Full width. Nil where no factorization has a matrix, such as every odd size above 1.
  public init?(_ size: Int) {
    guard size >= 1 else { return nil }
    let twos = 1 << size.trailingZeroBitCount
    var power = twos
    while power >= 1 {
      let order = size / power
      if order > HadamardMatrix.largestOrder { return nil }
      if HadamardMatrix.isOffered(order: order) {
        self.size = size
        self.order = order
        self.power = power
        return
      }
      power /= 2
    }
    return nil
  }

  /// The dense factor.
  public var matrix: HadamardMatrix {
    guard let matrix = HadamardMatrix(order: order) else { preconditionFailure("no Hadamard matrix of order \(order)") }
    return matrix
  }

  /// The block of a block-diagonal rotation, blockdiag(H_b, ..., H_b): the largest power of two that divides `size`
  /// and is at most `limit`. 0, which is no rotation, where that would be below `least`: a block of 8 spreads an
  /// outlier over 8 elements only, and the kernels have none below 16.
  ///
  /// With a scale for each vector, 64 comes within 10 % of the error of a full-width rotation, without a dense factor.
  public static func block(dividing size: Int, atMost limit: Int = 64, atLeast least: Int = 16) -> Int {
    precondition(size >= 1 && limit >= 1, "a Hadamard block of at most \(limit) for \(size) elements")
    var block = 1 << size.trailingZeroBitCount
    while block > limit { block /= 2 }
    return block < least ? 0 : block
  }
}
