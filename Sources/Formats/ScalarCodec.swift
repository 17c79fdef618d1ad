/// The block codec on plain arrays: a second statement of the rules, by which the kernels are checked.
///
/// A row of `count` elements has blocks of 32 and, if `count` is no multiple, a shorter last block with its own scale.
public enum ScalarCodec {
  /// One row in a block format: a code an element, a scale byte a block.
  public struct PackedRow: Sendable, Hashable {
    public var codes: [UInt8]
    public var scales: [UInt8]

    public init(codes: [UInt8], scales: [UInt8]) {
      self.codes = codes
      self.scales = scales
    }
  }

  /// Scale from the block's largest magnitude, elements rounded to nearest even and saturating. NaN or infinity in a
  /// block: byte 255, codes 0. No nonzero code in a block: byte 0, codes +0.
  public static func quantize(row: [Float], as format: MXFormat, rule: ScaleRule = .floor) -> PackedRow {
    var packed = PackedRow(codes: [], scales: [])
    packed.codes.reserveCapacity(row.count)
    for block in blocks(of: row.count) {
      let (codes, scale) = quantize(block: row[block], as: format.element, rule: rule)
      packed.codes += codes
      packed.scales.append(scale)
    }
    return packed
  }

  /// element * 2^(byte-127), exactly; NaN for every element of a block with byte 255.
  public static func dequantize(_ packed: PackedRow, from format: MXFormat) -> [Float] {
    blocks(of: packed.codes.count).enumerated().flatMap { index, block in
      let scale = Double(E8M0.value(packed.scales[index]))
      return packed.codes[block].map { Float(Double(format.element.decode($0)) * scale) }
    }
  }

  /// The row in the plan's target format.
  public static func slice(_ packed: PackedRow, plan: SlicePlan) -> PackedRow {
    var sliced = PackedRow(codes: [], scales: [])
    for (index, block) in blocks(of: packed.codes.count).enumerated() {
      let codes = packed.codes[block].map { plan.table[Int($0)] }
      let scale = Int(packed.scales[index])
      let byte =
        if scale == Int(E8M0.nan) {
          scale
        } else if codes.allSatisfy({ $0 & plan.zeroMask == 0 }) {
          0
        } else {
          min(scale + plan.scaleDelta, Int(E8M0.nan))
        }
      let isEmpty = byte == Int(E8M0.nan) || codes.allSatisfy { $0 & plan.zeroMask == 0 }
      sliced.codes += isEmpty ? Array(repeating: 0, count: codes.count) : codes
      sliced.scales.append(UInt8(byte))
    }
    return sliced
  }

  private static func quantize(
    block: ArraySlice<Float>, as element: ElementFormat, rule: ScaleRule
  ) -> (codes: [UInt8], scale: UInt8) {
    let zeros = [UInt8](repeating: 0, count: block.count)
    guard block.allSatisfy(\.isFinite) else { return (zeros, E8M0.nan) }
    let maximum = block.map(\.magnitude).max() ?? 0
    let byte = rule.scaleByte(forMaximum: maximum, element: element)
    let scale = Double(E8M0.value(byte))
    let codes = block.map { element.encode(Double($0) / scale) }
    return codes.allSatisfy { $0 & element.magnitudeMask == 0 } ? (zeros, 0) : (codes, byte)
  }

  private static func blocks(of count: Int) -> [Range<Int>] {
    stride(from: 0, to: count, by: MXFormat.blockSize).map { $0..<min($0 + MXFormat.blockSize, count) }
  }
}
