internal import CKernels
package import Formats

/// The codec on runs of rows by address, for shards of larger matrices.
///
/// Memory: fp32 runs hold rows * columns elements, codes as many bytes, scales rows * blocks bytes
/// (`PackedTensor.blockCount`). Any alignment. Outputs overlap no input, except where an entry says so.
extension BlockCodec {
  @unsafe package static func quantizeRows(
    rows: Int, columns: Int, from x: UnsafePointer<Float>, codes: UnsafeMutablePointer<UInt8>,
    scales: UnsafeMutablePointer<UInt8>, format: MXFormat, rule: ScaleRule = .floor, table: KernelTable = .current
  ) {
    check(rows, columns)
    var element = format.element.ckElement
    unsafe table.codec.quantize(&element, rule.ckScaleRule, Int64(rows), Int64(columns), x, codes, scales)
  }

  @unsafe package static func dequantizeRows(
    rows: Int, columns: Int, codes: UnsafePointer<UInt8>, scales: UnsafePointer<UInt8>,
    to y: UnsafeMutablePointer<Float>, format: MXFormat, table: KernelTable = .current
  ) {
    check(rows, columns)
    var element = format.element.ckElement
    unsafe table.codec.dequantize(&element, Int64(rows), Int64(columns), codes, scales, y)
  }

  /// The sliced codes and scales may be written over their sources.
  @unsafe package static func sliceRows(
    rows: Int, columns: Int, codes: UnsafePointer<UInt8>, scales: UnsafePointer<UInt8>,
    toCodes slicedCodes: UnsafeMutablePointer<UInt8>, toScales slicedScales: UnsafeMutablePointer<UInt8>,
    slice: CompiledSlice, table: KernelTable = .current
  ) {
    check(rows, columns)
    unsafe withUnsafePointer(to: slice.raw) { raw in
      unsafe table.codec.slice(raw, Int64(rows), Int64(columns), codes, scales, slicedCodes, slicedScales)
    }
  }

  /// `y` may be `x`.
  @unsafe package static func roundTripRows(
    rows: Int, columns: Int, from x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, format: MXFormat,
    rule: ScaleRule = .floor, table: KernelTable = .current
  ) {
    check(rows, columns)
    var element = format.element.ckElement
    unsafe table.codec.round_trip(&element, rule.ckScaleRule, Int64(rows), Int64(columns), x, y)
  }

  @unsafe package static func clipGradientRows(
    rows: Int, columns: Int, at x: UnsafePointer<Float>, gradient: UnsafeMutablePointer<Float>, format: MXFormat,
    rule: ScaleRule = .floor, table: KernelTable = .current
  ) {
    check(rows, columns)
    var element = format.element.ckElement
    unsafe table.codec.clip_gradient(&element, rule.ckScaleRule, Int64(rows), Int64(columns), x, gradient)
  }

  private static func check(_ rows: Int, _ columns: Int) {
    precondition(rows >= 0 && columns >= 0, "block codec: \(rows) x \(columns)")
  }
}
