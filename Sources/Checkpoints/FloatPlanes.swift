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
    let source = values.baseAddress!
    let byte0 = unsafe planes.0.baseAddress!, byte1 = unsafe planes.1.baseAddress!
    let byte2 = unsafe planes.2.baseAddress!, byte3 = unsafe planes.3.baseAddress!
    // 16 values at once: left to itself the compiler stores four bytes at a time.
    let whole = count / 16 * 16
    for index in stride(from: 0, to: whole, by: 16) {
      let words = unsafe UnsafeRawPointer(source + index).loadUnaligned(as: SIMD16<UInt32>.self)
      unsafe byte0.storeBytes(of: .init(truncatingIfNeeded: words), toByteOffset: index, as: SIMD16<UInt8>.self)
      unsafe byte1.storeBytes(of: .init(truncatingIfNeeded: words &>> 8), toByteOffset: index, as: SIMD16<UInt8>.self)
      unsafe byte2.storeBytes(of: .init(truncatingIfNeeded: words &>> 16), toByteOffset: index, as: SIMD16<UInt8>.self)
      unsafe byte3.storeBytes(of: .init(truncatingIfNeeded: words &>> 24), toByteOffset: index, as: SIMD16<UInt8>.self)
    }
    for index in whole..<count {
      let word = unsafe source[index]
      unsafe byte0.storeBytes(of: UInt8(truncatingIfNeeded: word), toByteOffset: index, as: UInt8.self)
      unsafe byte1.storeBytes(of: UInt8(truncatingIfNeeded: word >> 8), toByteOffset: index, as: UInt8.self)
      unsafe byte2.storeBytes(of: UInt8(truncatingIfNeeded: word >> 16), toByteOffset: index, as: UInt8.self)
      unsafe byte3.storeBytes(of: UInt8(truncatingIfNeeded: word >> 24), toByteOffset: index, as: UInt8.self)
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
