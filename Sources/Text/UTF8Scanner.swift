/// One character's worth of UTF-8 at a time, by the table of well-formed sequences (Unicode 15.0, table 3-7).
///
/// Swift's own repair and Rust's `from_utf8_lossy` agree on it: a maximal ill-formed prefix becomes one U+FFFD.
package enum UTF8Scanner {
  package enum Step: Equatable {
    /// A whole scalar in `length` bytes.
    case scalar(UInt32, length: Int)
    /// `length` bytes that can never become a scalar.
    case invalid(length: Int)
    /// The bytes end inside a sequence that is well formed so far.
    case incomplete
  }

  /// Reads the sequence that starts at `offset`; `offset` lies within `bytes`.
  @inline(__always)
  package static func step(_ bytes: Span<UInt8>, at offset: Int) -> Step {
    let lead = bytes[offset]
    if lead < 0x80 { return .scalar(UInt32(lead), length: 1) }
    return multibyte(bytes, at: offset, lead: lead)
  }

  private static func multibyte(_ bytes: Span<UInt8>, at offset: Int, lead: UInt8) -> Step {
    let length: Int
    var low: UInt8 = 0x80, high: UInt8 = 0xBF
    var value: UInt32
    switch lead {
    case 0xC2...0xDF: (length, value) = (2, UInt32(lead & 0x1F))
    case 0xE0...0xEF:
      (length, value) = (3, UInt32(lead & 0x0F))
      if lead == 0xE0 { low = 0xA0 }  // shorter forms exist
      if lead == 0xED { high = 0x9F }  // surrogates
    case 0xF0...0xF4:
      (length, value) = (4, UInt32(lead & 0x07))
      if lead == 0xF0 { low = 0x90 }
      if lead == 0xF4 { high = 0x8F }  // beyond U+10FFFF
    default: return .invalid(length: 1)
    }
    for index in 1..<length {
      guard offset + index < bytes.count else { return .incomplete }
      let byte = bytes[offset + index]
      guard byte >= low, byte <= high else { return .invalid(length: index) }
      (low, high) = (0x80, 0xBF)
      value = value << 6 | UInt32(byte & 0x3F)
    }
    return .scalar(value, length: length)
  }

  /// The offset of the first byte that is not part of well-formed UTF-8, or nil.
  package static func firstInvalidOffset(_ bytes: Span<UInt8>) -> Int? {
    var offset = 0
    while offset < bytes.count {
      if bytes[offset] < 0x80 {
        offset += 1
        continue
      }
      guard case .scalar(_, let length) = step(bytes, at: offset) else { return offset }
      offset += length
    }
    return nil
  }

  package static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

  /// Moves what is decided from `pending` to `output`, ill-formed bytes as U+FFFD; keeps an unfinished last sequence
  /// unless `atEnd`.
  static func repair(_ pending: inout [UInt8], into output: inout [UInt8], atEnd: Bool) {
    var offset = 0
    scan: while offset < pending.count {
      switch step(pending.span, at: offset) {
      case .scalar(_, let length):
        for index in offset..<(offset + length) { output.append(pending[index]) }
        offset += length
      case .invalid(let length):
        output += replacement
        offset += length
      case .incomplete:
        guard atEnd else { break scan }
        output += replacement
        offset = pending.count
      }
    }
    pending.removeFirst(offset)
  }

  static func append(_ scalar: UInt32, to bytes: inout [UInt8]) {
    if scalar < 0x80 {
      bytes.append(UInt8(scalar))
    } else if scalar < 0x800 {
      bytes.append(UInt8(0xC0 | scalar >> 6))
      bytes.append(UInt8(0x80 | scalar & 0x3F))
    } else if scalar < 0x10000 {
      bytes.append(UInt8(0xE0 | scalar >> 12))
      bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
      bytes.append(UInt8(0x80 | scalar & 0x3F))
    } else {
      bytes.append(UInt8(0xF0 | scalar >> 18))
      bytes.append(UInt8(0x80 | scalar >> 12 & 0x3F))
      bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
      bytes.append(UInt8(0x80 | scalar & 0x3F))
    }
  }
}
