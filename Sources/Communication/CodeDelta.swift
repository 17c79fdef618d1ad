import CXXHash
import CZstd
import Kernels
package import Tensors

/// Lossless differences of codes to those sent before, modulo 256, compressed by zstd where that makes them smaller.
///
/// Small updates leave most codes of a block format as they were, and a difference is mostly zeros. A message:
///
///   0   1  layout: 0 the codes themselves, 1 compressed differences
///   1   7  zero
///   8   8  XXH3-64 of the codes that must result
///   16  …  the bytes
@safe package final class CodeDelta {
  package static let headerCount = 16
  /// Level 3 is zstd's default: higher ones cost more time than they save on a link of 1 Gbit/s.
  private static let level: Int32 = 3

  private let compressor: OpaquePointer
  private let decompressor: OpaquePointer
  private var difference: HostBuffer<UInt8>

  /// - Parameter capacity: codes of the longest message.
  package init(capacity: Int, in arena: Arena) {
    guard let compressor = unsafe ZSTD_createCCtx(), let decompressor = unsafe ZSTD_createDCtx() else {
      fatalError("no memory for zstd")
    }
    unsafe self.compressor = compressor
    unsafe self.decompressor = decompressor
    difference = HostBuffer(count: capacity, in: arena)
  }

  deinit {
    unsafe ZSTD_freeCCtx(compressor)
    unsafe ZSTD_freeDCtx(decompressor)
  }

  /// The longest message of `count` codes.
  package static func capacity(of count: Int) -> Int { headerCount + count }

  /// Writes a message; returns its length.
  ///
  /// - Parameter previous: what receivers hold; nil sends the codes themselves.
  package func encode(
    _ codes: UnsafePointer<UInt8>, previous: UnsafePointer<UInt8>?, count: Int, to message: UnsafeMutableRawPointer
  ) -> Int {
    let hash = unsafe XXH3_64bits(codes, count)
    unsafe message.initializeMemory(as: UInt8.self, repeating: 0, count: Self.headerCount)
    unsafe message.storeBytes(of: hash.littleEndian, toByteOffset: 8, as: UInt64.self)
    let body = unsafe message + Self.headerCount
    if let previous = unsafe previous, count > 0 {
      let bytes = unsafe difference.unsafeMutableAddress()
      unsafe ByteDifference.subtract(codes, previous, count: count, into: bytes)
      // It must be smaller than the codes, or it is not used.
      let packed = unsafe ZSTD_compressCCtx(compressor, body, count - 1, bytes, count, Self.level)
      if ZSTD_isError(packed) == 0 {
        unsafe message.storeBytes(of: 1, as: UInt8.self)
        return Self.headerCount + packed
      }
    }
    unsafe body.copyMemory(from: codes, byteCount: count)
    return Self.headerCount + count
  }

  /// Turns the codes that a receiver holds into those that were sent.
  package func decode(
    _ message: UnsafeRawPointer, length: Int, onto codes: UnsafeMutablePointer<UInt8>, count: Int, from rank: Int
  ) throws(CommunicationError) {
    guard length >= Self.headerCount else { throw damaged(rank, "a message of \(length) bytes") }
    let layout = unsafe message.loadUnaligned(as: UInt8.self)
    let hash = unsafe UInt64(littleEndian: message.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    let body = unsafe message + Self.headerCount, bodyCount = length - Self.headerCount
    switch layout {
    case 0 where bodyCount == count:
      unsafe UnsafeMutableRawPointer(codes).copyMemory(from: body, byteCount: count)
    case 1:
      let bytes = unsafe difference.unsafeMutableAddress()
      let found = unsafe ZSTD_decompressDCtx(decompressor, bytes, count, body, bodyCount)
      guard found == count else { throw damaged(rank, "differences that do not decompress to \(count) codes") }
      unsafe ByteDifference.add(bytes, count: count, to: codes)
    default:
      throw damaged(rank, "layout \(layout) with \(bodyCount) bytes for \(count) codes")
    }
    guard unsafe XXH3_64bits(codes, count) == hash else {
      throw damaged(rank, "codes that do not have the sender's hash: the codes before were not the same")
    }
  }

  private func damaged(_ rank: Int, _ found: String) -> CommunicationError {
    CommunicationError(
      call: "code differences of rank \(rank)", rank: -1, size: 0, found: found,
      hint: "Memory of a rank is damaged, or ranks run different programs: start again from a checkpoint")
  }
}
