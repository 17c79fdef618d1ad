internal import CKernels

/// Differences of codes, byte by byte and modulo 256: small where few codes have changed, and without loss.
package enum ByteDifference {
  /// `difference` = `a` - `b`; it may be either.
  @unsafe package static func subtract(
    _ a: UnsafePointer<UInt8>, _ b: UnsafePointer<UInt8>, count: Int, into difference: UnsafeMutablePointer<UInt8>,
    on table: KernelTable = .current
  ) {
    let wire = table.wire
    ThreadTeam.shared.parallel(count, by: 4 * WireRotation.grain) { piece in
      unsafe wire.subtract_bytes(
        Int64(piece.count), a + piece.lowerBound, b + piece.lowerBound, difference + piece.lowerBound)
    }
  }

  /// `a` += `difference`.
  @unsafe package static func add(
    _ difference: UnsafePointer<UInt8>, count: Int, to a: UnsafeMutablePointer<UInt8>, on table: KernelTable = .current
  ) {
    let wire = table.wire
    ThreadTeam.shared.parallel(count, by: 4 * WireRotation.grain) { piece in
      unsafe wire.add_bytes(Int64(piece.count), difference + piece.lowerBound, a + piece.lowerBound)
    }
  }
}
