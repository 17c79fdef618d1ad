internal import CKernels

/// fp32 as bf16, over runs of any length and alignment. Contract: bit-exact in every table.
package enum BrainFloat {
  /// To the nearest, ties to even; subnormals are kept, a NaN stays one.
  @unsafe package static func round(
    _ x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<UInt16>, on table: KernelTable = .current
  ) {
    let wire = table.wire
    ThreadTeam.shared.parallel(count, by: WireRotation.grain) { piece in
      unsafe wire.round_bf16(Int64(piece.count), x + piece.lowerBound, y + piece.lowerBound)
    }
  }

  /// Exact.
  @unsafe package static func widen(
    _ x: UnsafePointer<UInt16>, count: Int, into y: UnsafeMutablePointer<Float>, on table: KernelTable = .current
  ) {
    let wire = table.wire
    ThreadTeam.shared.parallel(count, by: WireRotation.grain) { piece in
      unsafe wire.widen_bf16(Int64(piece.count), x + piece.lowerBound, y + piece.lowerBound)
    }
  }
}
