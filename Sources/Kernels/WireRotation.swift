internal import CKernels

/// The rotation of runs on the wire: Hadamard of order 32 on consecutive values, not normalised (`ck_wire.h`), so that
/// integers stay integers and its inverse is itself with a factor of 1/32.
///
/// Lengths as in `WireCodec`. Contract: bit-exact in every table.
public enum WireRotation {
  /// Values that are rotated together.
  public static var block: Int { CK_WIRE_BLOCK }

  /// `n` rounded up to whole blocks.
  public static func paddedCount(_ n: Int) -> Int { Int(ck_wire_padded(Int64(n))) }

  /// Values that a thread takes at once.
  static var grain: Int { 1 << 16 }

  /// `y` (padded) = factor * H `x`, `x` (count) padded with zeros. `y` may be `x` where that is padded.
  @unsafe package static func rotate(
    _ x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>, factor: Float = 1,
    on table: KernelTable = .current
  ) {
    let wire = table.wire
    forEachPiece(count) { piece in
      unsafe wire.rotate(Int64(piece.count), x + piece.lowerBound, factor, y + piece.lowerBound)
    }
  }

  /// The inverse of `rotate` with factor 1: `x` (count) from `y` (padded). `x` may be `y`.
  @unsafe package static func unrotate(
    _ y: UnsafePointer<Float>, count: Int, into x: UnsafeMutablePointer<Float>, factor: Float = 1 / 32,
    on table: KernelTable = .current
  ) {
    let wire = table.wire
    forEachPiece(count) { piece in
      unsafe wire.unrotate(Int64(piece.count), y + piece.lowerBound, factor, x + piece.lowerBound)
    }
  }

  /// Pieces of whole blocks, for the threads of the team.
  @inline(__always)
  private static func forEachPiece(_ count: Int, _ body: (_ piece: Range<Int>) -> Void) {
    precondition(count >= 0, "a wire run of \(count)")
    ThreadTeam.shared.parallel(count, by: grain, body)
  }
}
