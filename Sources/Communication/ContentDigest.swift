/// 128 bits and the length of a run of bytes: enough to notice that two ranks hold different ones by accident.
///
/// Two lanes of multiply and rotate over 8-byte words, finished with SplitMix64's mixer. It is no checksum of a file
/// format and never stored.
public struct ContentDigest: Sendable, Hashable {
  public var first: UInt64
  public var second: UInt64
  public var length: UInt64

  static let wordCount = 3

  public init(first: UInt64, second: UInt64, length: UInt64) {
    self.first = first
    self.second = second
    self.length = length
  }

  public init(of bytes: [UInt8]) {
    self = unsafe ContentDigest(of: bytes.span.bytes)
  }

  public init(of bytes: RawSpan) {
    var a: UInt64 = 0x6A09_E667_F3BC_C908
    var b: UInt64 = 0xBB67_AE85_84CA_A73B
    func absorb(_ word: UInt64) {
      a = (a ^ word) &* 0x9E37_79B9_7F4A_7C15
      a = a << 29 | a >> 35
      b = (b &+ word) &* 0xC2B2_AE3D_27D4_EB4F
      b ^= b >> 31
    }
    let whole = bytes.byteCount / 8 * 8
    var offset = 0
    while offset < whole {
      absorb(unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))  // within the span: offset + 8 <= whole
      offset += 8
    }
    var rest: UInt64 = 0
    while offset < bytes.byteCount {
      rest = rest << 8 | UInt64(unsafe bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self))
      offset += 1
    }
    absorb(rest)
    length = UInt64(bytes.byteCount)
    first = Self.mix(a ^ length)
    second = Self.mix(b &+ length)
  }

  private static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
