internal import CXXHash

/// XXH3 of bytes: 64 bits for tables and headers, 128 bits for the identity of files.
package enum ContentHash {
  /// 128 bits, high half first as xxHash's canonical form has it.
  package struct Wide: Hashable, Sendable {
    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
      self.high = high
      self.low = low
    }

    /// Thirty-two hexadecimal digits, as `xxhsum -H128` prints them.
    package var hexadecimal: String { ContentHash.digits(high) + ContentHash.digits(low) }

    /// The inverse of `hexadecimal`.
    package init?(hexadecimal: String) {
      guard hexadecimal.utf8.count == 32, let high = UInt64(hexadecimal.prefix(16), radix: 16),
        let low = UInt64(hexadecimal.suffix(16), radix: 16)
      else { return nil }
      self.init(high: high, low: low)
    }
  }

  package static func narrow(_ bytes: Span<UInt8>) -> UInt64 {
    // The span keeps the memory alive for the call; xxHash reads `count` bytes and keeps no pointer.
    unsafe bytes.withUnsafeBufferPointer { unsafe XXH3_64bits($0.baseAddress, $0.count) }
  }

  package static func wide(_ bytes: Span<UInt8>) -> Wide {
    unsafe bytes.withUnsafeBufferPointer {
      let hash = unsafe XXH3_128bits($0.baseAddress, $0.count)
      return Wide(high: hash.high64, low: hash.low64)
    }
  }

  private static func digits(_ value: UInt64) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: 16 - text.utf8.count) + text
  }
}

/// XXH3-128 of bytes that arrive in pieces; equal to `ContentHash.wide` of all of them together.
@safe final class RunningHash {
  private let state: OpaquePointer

  init() {
    guard let state = unsafe XXH3_createState() else { fatalError("XXH3: no memory for a hash state") }
    unsafe self.state = unsafe state
    let status = unsafe XXH3_128bits_reset(state)
    precondition(status == XXH_OK, "XXH3: reset refused")
  }

  deinit { _ = unsafe XXH3_freeState(state) }

  func update(_ bytes: UnsafeRawBufferPointer) {
    let status = unsafe XXH3_128bits_update(state, bytes.baseAddress, bytes.count)
    precondition(status == XXH_OK, "XXH3: update of \(bytes.count) bytes refused")
  }

  var value: ContentHash.Wide {
    let hash = unsafe XXH3_128bits_digest(state)
    return ContentHash.Wide(high: hash.high64, low: hash.low64)
  }
}
