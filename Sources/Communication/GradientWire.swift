import Kernels

/// How gradients travel to the owners of their rows.
public enum GradientWire: Sendable, Hashable {
  /// Lane by lane in fp32, added in the order of lanes: the same bits on any number of ranks.
  case exact
  /// The ranks' own sums, in fp32, bf16, or 8-bit codes of rotated groups.
  case fp32, bf16, int8
  /// 8-bit codes to the ranks of a node, whose sum goes on to other nodes in 4-bit codes (SDP4Bit's TLq-HS, arXiv
  /// 2410.15526, section 3.2).
  case twoLevel

  /// Whether a rank may add up its lanes before anything is sent.
  public var sumsLocally: Bool { self != .exact }

  /// Groups of 128 values share an fp32 scale: 8.25 and 4.25 bits a value.
  static let intraCodec = WireCodec(bits: .eight, group: 128)
  static let interCodec = WireCodec(bits: .four, group: 128)
}

/// How one hop writes values.
enum WireValues: Hashable {
  case fp32, bf16
  /// Rotated by a Hadamard matrix of order 32, which is undone once after the last sum.
  case coded(WireCodec)

  func byteCount(of n: Int) -> Int {
    switch self {
    case .fp32: 4 * n
    case .bf16: 2 * n
    case .coded(let codec): codec.byteCount(of: n)
    }
  }

  /// Elements that a sum of `n` values takes: rotated runs are padded to whole blocks.
  func sumCount(of n: Int) -> Int {
    switch self {
    case .fp32, .bf16: n
    case .coded(let codec): codec.paddedCount(n)
    }
  }
}

/// What gradients of a run have in common on the wire.
public struct GradientWireOptions: Sendable, Hashable {
  public var wire: GradientWire
  /// Codes are rounded by chance, without bias, rather than to nearest.
  public var isStochastic: Bool
  /// What rounding lost is added to the next step's values.
  public var feedsBack: Bool
  /// For the numbers of stochastic rounding.
  public var seed: UInt64
  /// Transfers in flight at most; 0 sends while nothing else happens.
  public var depth: Int

  public init(
    _ wire: GradientWire, isStochastic: Bool = true, feedsBack: Bool = false, seed: UInt64 = 0, depth: Int = 2
  ) {
    self.wire = wire
    self.isStochastic = isStochastic
    self.feedsBack = feedsBack
    self.seed = seed
    self.depth = depth
  }
}
