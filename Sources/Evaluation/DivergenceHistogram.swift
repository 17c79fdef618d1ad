/// How often a KL divergence fell between fixed edges: adds up exactly, in any order, over windows and over ranks.
///
/// Edges: 2^e · (1 + j/64) for e in -40 ..< 10 and j in 0 ..< 64, so 64 bins an octave from 9e-13 to 1024 nats, the
/// same on every machine since they are read off the bits of the double. Below is one bin, for what rounding makes of
/// 0, and above is one.
///
/// Resolution: a quantile differs from the value of that rank by at most 1/128 of it (0.8 %), or by 2^-40 where that is
/// more; beyond 1024 nats it is the maximum.
public struct DivergenceHistogram: Sendable, Hashable {
  private static let bitsPerOctave: UInt64 = 6
  private static let lowest = 0x1p-40, highest = 0x1p10
  private static let firstKey = key(lowest)
  /// Bins between the edges, and the two beyond them.
  public static let binCount = Int(key(highest) - firstKey) + 2

  /// Of each bin; empty before the first value.
  public private(set) var counts: [Int] = []
  /// The largest value, at least 0: KL is not negative, rounding may be. NaN after a value that is none.
  public private(set) var maximum = 0.0
  public private(set) var total = 0

  public init() {}

  public mutating func insert(_ value: Double) {
    if counts.isEmpty { counts = [Int](repeating: 0, count: Self.binCount) }
    total += 1
    // Swift.max would let a NaN go.
    if value.isNaN || maximum.isNaN { maximum = .nan } else { maximum = max(maximum, value) }
    counts[Self.bin(value)] += 1
  }

  /// The histogram of the values of both.
  public mutating func merge(_ other: DivergenceHistogram) {
    guard !other.counts.isEmpty else { return }
    if counts.isEmpty { counts = [Int](repeating: 0, count: Self.binCount) }
    for bin in counts.indices { counts[bin] += other.counts[bin] }
    total += other.total
    maximum = maximum.isNaN || other.maximum.isNaN ? .nan : max(maximum, other.maximum)
  }

  /// The value of rank ⌈q · total⌉ (the nearest rank), within the resolution; NaN of no values, or where one was NaN.
  ///
  /// - Precondition: 0 < q <= 1
  public func quantile(_ q: Double) -> Double {
    precondition(q > 0 && q <= 1, "quantile \(q)")
    guard total > 0, !maximum.isNaN else { return .nan }
    let rank = min(total, max(1, Int((q * Double(total)).rounded(.up))))
    var below = 0
    for bin in counts.indices {
      below += counts[bin]
      if below >= rank { return min(Self.middle(bin), maximum) }
    }
    return maximum
  }

  // The exponent and the first bits of the fraction: consecutive integers, bin after bin.
  private static func key(_ value: Double) -> UInt64 { value.bitPattern >> (52 - bitsPerOctave) }

  private static func bin(_ value: Double) -> Int {
    if value < lowest { return 0 }
    return value < highest ? Int(key(value) - firstKey) + 1 : binCount - 1
  }

  private static func middle(_ bin: Int) -> Double {
    if bin == 0 { return 0 }
    if bin == binCount - 1 { return .infinity }
    func edge(_ key: UInt64) -> Double { Double(bitPattern: key << (52 - bitsPerOctave)) }
    let key = firstKey + UInt64(bin) - 1
    return (edge(key) + edge(key + 1)) / 2
  }
}
