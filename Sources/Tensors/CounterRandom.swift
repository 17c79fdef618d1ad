/// Random bits as a function of (key, counter): Philox 4x32-10 (Salmon et al., SC 2011).
///
/// A number depends on what it is for and where it stands, never on who draws it or when: `key` is the seed and
/// a stream id (a hash of a tensor's name, a purpose), `counter` the global element index or step.
public struct CounterRandom: Sendable {
  /// What the kernels that draw their own numbers need.
  package let key: (UInt32, UInt32)

  /// - Parameters:
  ///   - seed: the run's seed.
  ///   - stream: what the numbers are for; equal (seed, stream) give equal numbers.
  public init(seed: UInt64, stream: UInt64 = 0) {
    // Two rounds of SplitMix64 mix seed and stream, so that neighbouring streams do not share a key.
    let mixed = Self.mix(Self.mix(seed) ^ (stream &* 0x9E37_79B9_7F4A_7C15))
    key = (UInt32(truncatingIfNeeded: mixed), UInt32(truncatingIfNeeded: mixed >> 32))
  }

  /// A stream named by text.
  public init(seed: UInt64, stream name: String) {
    self.init(seed: seed, stream: Self.stream(name))
  }

  /// The id of a stream named by text: FNV-1a of its UTF-8.
  public static func stream(_ name: String) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return hash
  }

  /// Four words for a 128-bit counter (`high`, `low`).
  public func words(_ low: UInt64, _ high: UInt64 = 0) -> (UInt32, UInt32, UInt32, UInt32) {
    var c = (UInt32(truncatingIfNeeded: low), UInt32(truncatingIfNeeded: low >> 32),
             UInt32(truncatingIfNeeded: high), UInt32(truncatingIfNeeded: high >> 32))
    var k = key
    for _ in 0..<10 {
      let a = UInt64(c.0) * 0xD251_1F53
      let b = UInt64(c.2) * 0xCD9E_8D57
      c = (UInt32(truncatingIfNeeded: b >> 32) ^ c.1 ^ k.0, UInt32(truncatingIfNeeded: b),
           UInt32(truncatingIfNeeded: a >> 32) ^ c.3 ^ k.1, UInt32(truncatingIfNeeded: a))
      k = (k.0 &+ 0x9E37_79B9, k.1 &+ 0xBB67_AE85)
    }
    return c
  }

  public func word(_ counter: UInt64) -> UInt64 {
    let w = words(counter)
    return UInt64(w.0) | UInt64(w.1) << 32
  }

  /// Uniform in [0, 1): 53 bits.
  public func uniform(_ counter: UInt64) -> Double {
    Double(word(counter) >> 11) * 0x1p-53
  }

  /// Uniform integer in 0..<bound, without modulo bias beyond 2^-64.
  public func integer(_ counter: UInt64, below bound: UInt64) -> UInt64 {
    precondition(bound > 0, "integer below 0")
    return word(counter).multipliedFullWidth(by: bound).high
  }

  private static func mix(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
