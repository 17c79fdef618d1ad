/// fp32 values as four byte planes, plane k with byte k of each value, and back. One pass over the values.
package enum FloatPlanes {
  static let count = 4

  /// Spreads `values` over four planes of as many bytes.
  package static func split(
    _ values: UnsafeBufferPointer<UInt32>, into planes: (
      UnsafeMutableRawBufferPointer, UnsafeMutableRawBufferPointer, UnsafeMutableRawBufferPointer,
      UnsafeMutableRawBufferPointer
    )
  ) {
    let count = values.count
    unsafe precondition(
      planes.0.count == count && planes.1.count == count && planes.2.count == count && planes.3.count == count)
    guard count > 0 else { return }
    // Plain pointers: the loop becomes vector code only without a check a byte.
    let source = values.baseAddress!
    let byte0 = unsafe planes.0.baseAddress!.assumingMemoryBound(to: UInt8.self)
    let byte1 = unsafe planes.1.baseAddress!.assumingMemoryBound(to: UInt8.self)
    let byte2 = unsafe planes.2.baseAddress!.assumingMemoryBound(to: UInt8.self)
    let byte3 = unsafe planes.3.baseAddress!.assumingMemoryBound(to: UInt8.self)
    for index in 0..<count {
      let word = unsafe source[index]
      unsafe byte0[index] = UInt8(truncatingIfNeeded: word)
      unsafe byte1[index] = UInt8(truncatingIfNeeded: word >> 8)
      unsafe byte2[index] = UInt8(truncatingIfNeeded: word >> 16)
      unsafe byte3[index] = UInt8(truncatingIfNeeded: word >> 24)
    }
  }

  /// Puts the values together again.
  package static func merge(
    _ planes: (UnsafeRawBufferPointer, UnsafeRawBufferPointer, UnsafeRawBufferPointer, UnsafeRawBufferPointer),
    into values: UnsafeMutableBufferPointer<UInt32>
  ) {
    let count = values.count
    unsafe precondition(
      planes.0.count == count && planes.1.count == count && planes.2.count == count && planes.3.count == count)
    guard count > 0 else { return }
    let destination = values.baseAddress!
    let byte0 = unsafe planes.0.baseAddress!.assumingMemoryBound(to: UInt8.self)
    let byte1 = unsafe planes.1.baseAddress!.assumingMemoryBound(to: UInt8.self)
    let byte2 = unsafe planes.2.baseAddress!.assumingMemoryBound(to: UInt8.self)
    let byte3 = unsafe planes.3.baseAddress!.assumingMemoryBound(to: UInt8.self)
    for index in 0..<count {
      unsafe destination[index] =
        UInt32(byte0[index]) | UInt32(byte1[index]) << 8 | UInt32(byte2[index]) << 16 | UInt32(byte3[index]) << 24
    }
  }
}
