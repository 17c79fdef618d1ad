internal import CKernels
package import Formats

/// The codec on runs of rows by address, for shards of larger matrices.
///
/// Memory: fp32 runs hold rows * columns elements, codes as many bytes, scales rows * blocks bytes
/// (`PackedTensor.blockCount`). Any alignment. Outputs overlap no input, except where an entry says so. Rows know nothing
/// of each other, so the team's threads take pieces of them.
extension BlockCodec {
  @unsafe package static func quantizeRows(
    rows: Int, columns: Int, from x: UnsafePointer<Float>, codes: UnsafeMutablePointer<UInt8>,
    scales: UnsafeMutablePointer<UInt8>, format: MXFormat, rule: ScaleRule = .floor, table: KernelTable = .current
  ) {
    check(rows, columns)
    let codec = table.codec, element = format.element.ckElement
    forEachPiece(rows, columns) { count, at, block in
      unsafe withUnsafePointer(to: element) { element in
        unsafe codec.quantize(element, rule.ckScaleRule, count, Int64(columns), x + at, codes + at, scales + block)
      }
    }
  }

  @unsafe package static func dequantizeRows(
    rows: Int, columns: Int, codes: UnsafePointer<UInt8>, scales: UnsafePointer<UInt8>,
    to y: UnsafeMutablePointer<Float>, format: MXFormat, table: KernelTable = .current
  ) {
    check(rows, columns)
    let codec = table.codec, element = format.element.ckElement
    forEachPiece(rows, columns) { count, at, block in
      unsafe withUnsafePointer(to: element) { element in
        unsafe codec.dequantize(element, count, Int64(columns), codes + at, scales + block, y + at)
      }
    }
  }

  /// The sliced codes and scales may be written over their sources.
  @unsafe package static func sliceRows(
    rows: Int, columns: Int, codes: UnsafePointer<UInt8>, scales: UnsafePointer<UInt8>,
    toCodes slicedCodes: UnsafeMutablePointer<UInt8>, toScales slicedScales: UnsafeMutablePointer<UInt8>,
    slice: CompiledSlice, table: KernelTable = .current
  ) {
    check(rows, columns)
    let codec = table.codec
    unsafe withUnsafePointer(to: slice.raw) { raw in
      forEachPiece(rows, columns) { count, at, block in
        unsafe codec.slice(
          raw, count, Int64(columns), codes + at, scales + block, slicedCodes + at, slicedScales + block)
      }
    }
  }

  /// `y` may be `x`.
  @unsafe package static func roundTripRows(
    rows: Int, columns: Int, from x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, format: MXFormat,
    rule: ScaleRule = .floor, table: KernelTable = .current
  ) {
    check(rows, columns)
    let codec = table.codec, element = format.element.ckElement
    forEachPiece(rows, columns) { count, at, _ in
      unsafe withUnsafePointer(to: element) { element in
        unsafe codec.round_trip(element, rule.ckScaleRule, count, Int64(columns), x + at, y + at)
      }
    }
  }

  @unsafe package static func clipGradientRows(
    rows: Int, columns: Int, at x: UnsafePointer<Float>, gradient: UnsafeMutablePointer<Float>, format: MXFormat,
    rule: ScaleRule = .floor, table: KernelTable = .current
  ) {
    check(rows, columns)
    let codec = table.codec, element = format.element.ckElement
    forEachPiece(rows, columns) { count, at, _ in
      unsafe withUnsafePointer(to: element) { element in
        unsafe codec.clip_gradient(element, rule.ckScaleRule, count, Int64(columns), x + at, gradient + at)
      }
    }
  }

  /// Pieces of rows: how many, and where their elements and their blocks begin.
  @inline(__always)
  private static func forEachPiece(_ rows: Int, _ columns: Int, _ body: (_ count: Int64, _ at: Int, _ block: Int) -> Void) {
    let blocks = Int(ck_blocks(Int64(columns)))
    ThreadTeam.shared.parallel(rows, by: rowGrain(columns: columns)) { piece in
      body(Int64(piece.count), piece.lowerBound * columns, piece.lowerBound * blocks)
    }
  }

  private static func check(_ rows: Int, _ columns: Int) {
    precondition(rows >= 0 && columns >= 0, "block codec: \(rows) x \(columns)")
  }
}
