/// GPT-2's alphabet: each of the 256 bytes has a printable character of its own, below U+0180.
enum ByteAlphabet {
  /// The scalar of each byte: itself where printable, else the next free one from U+0100.
  static let scalars: [UInt32] = {
    var next: UInt32 = 0x100
    return (UInt32(0)...255).map { byte in
      if (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte) { return byte }
      defer { next += 1 }
      return next
    }
  }()

  private static let bytes: [Int16] = {
    var table = [Int16](repeating: -1, count: 0x180)
    for (byte, scalar) in scalars.enumerated() { table[Int(scalar)] = Int16(byte) }
    return table
  }()

  /// The bytes that a token stands for, or nil if it has a character outside the alphabet.
  static func decode(_ token: Span<UInt8>) -> [UInt8]? {
    var result: [UInt8] = []
    result.reserveCapacity(token.count)
    var offset = 0
    while offset < token.count {
      guard case .scalar(let value, let length) = UTF8Scanner.step(token, at: offset), value < 0x180,
        bytes[Int(value)] >= 0
      else { return nil }
      result.append(UInt8(bytes[Int(value)]))
      offset += length
    }
    return result
  }

  /// The UTF-8 of the character that stands for `byte`.
  static func character(of byte: UInt8) -> [UInt8] {
    var result: [UInt8] = []
    UTF8Scanner.append(scalars[Int(byte)], to: &result)
    return result
  }
}
