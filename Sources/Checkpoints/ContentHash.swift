import CXXHash

/// XXH3-128 of some bytes: the identity of content in manifests, printed as 32 hexadecimal digits, high half first.
///
/// It detects accidents, of any kind, with certainty enough for identity; it is no defence against someone who wants
/// two contents with one hash.
public struct ContentHash: Sendable, Hashable, CustomStringConvertible {
  let high: UInt64
  let low: UInt64

  init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  public init(_ bytes: UnsafeRawBufferPointer) {
    let hash = unsafe XXH3_128bits_widest(bytes.baseAddress, bytes.count)
    self.init(high: hash.high64, low: hash.low64)
  }

  public init(_ bytes: [UInt8]) {
    self = unsafe bytes.withUnsafeBytes { unsafe ContentHash($0) }
  }

  /// Of a whole file, streaming.
  public static func ofFile(_ path: String) throws(CheckpointError) -> ContentHash {
    try ReadableFile(path).contentHash()
  }

  /// nil unless `hex` is 32 lower-case hexadecimal digits.
  public init?(hex: String) {
    let digits = Array(hex.utf8)
    guard digits.count == 32 else { return nil }
    var halves: [UInt64] = [0, 0]
    for (index, digit) in digits.enumerated() {
      let value: UInt8
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = digit - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = digit - UInt8(ascii: "a") + 10
      default: return nil
      }
      halves[index / 16] = halves[index / 16] << 4 | UInt64(value)
    }
    self.init(high: halves[0], low: halves[1])
  }

  public var description: String { Self.hex(high) + Self.hex(low) }

  private static func hex(_ word: UInt64) -> String {
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
  }
}

/// XXH3-128 of bytes that arrive in pieces.
@safe final class ContentHasher {
  private let state: OpaquePointer

  init() {
    guard let state = unsafe XXH3_createState() else { fatalError("no memory for a hash state") }
    unsafe self.state = state
    unsafe XXH3_128bits_reset(state)
  }

  deinit { unsafe XXH3_freeState(state) }

  func update(_ bytes: UnsafeRawBufferPointer) {
    unsafe _ = XXH3_128bits_update_widest(state, bytes.baseAddress, bytes.count)
  }

  /// The hash of everything so far.
  var value: ContentHash {
    let hash = unsafe XXH3_128bits_digest(state)
    return ContentHash(high: hash.high64, low: hash.low64)
  }
}

/// Low 32 bits of XXH64, seed 0: the checksum of zstd frames and of the seek table.
package func frameChecksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
  unsafe UInt32(truncatingIfNeeded: XXH64(bytes.baseAddress, bytes.count, 0))
}
