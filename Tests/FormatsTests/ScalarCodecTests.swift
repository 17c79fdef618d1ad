import Formats
import Testing

private let example: [Float] =
  [1.0, -0.75, 0.7109375, -0.3, 0.13, -0.1, 0.06, 0.02, -0.005, 0.001] + Array(repeating: 0, count: 22)

private func cut(_ row: [Float], _ anchor: MXFormat, _ target: MXFormat) throws -> ScalarCodec.PackedRow {
  ScalarCodec.slice(ScalarCodec.quantize(row: row, as: anchor), plan: try SlicePlan(from: anchor, to: target))
}

private func integers(_ packed: ScalarCodec.PackedRow) -> [Int] {
  packed.codes.prefix(10).map { Int(Int8(bitPattern: $0)) }
}

private func elements(_ packed: ScalarCodec.PackedRow, _ format: MXFormat) -> [Float] {
  packed.codes.prefix(10).map { format.element.decode($0) }
}

@Suite struct ScalarCodecTests {
  @Test func exampleInMXINT8() {
    let packed = ScalarCodec.quantize(row: example, as: .mxint8)
    #expect(packed.scales == [127])
    #expect(integers(packed) == [64, -48, 46, -19, 8, -6, 4, 1, 0, 0])
    #expect(packed.codes.prefix(10) == [0x40, 0xD0, 0x2E, 0xED, 0x08, 0xFA, 0x04, 0x01, 0, 0])
  }

  @Test(arguments: [
    (MXFormat.mxint7, [32, -24, 23, -10, 4, -3, 2, 1, 0, 0], [32, -24, 23, -10, 4, -3, 2, 0, 0, 0]),
    (.mxint6, [16, -12, 11, -5, 2, -2, 1, 0, 0, 0], [16, -12, 12, -5, 2, -2, 1, 0, 0, 0]),
    (.mxint5, [8, -6, 6, -2, 1, -1, 0, 0, 0, 0], [8, -6, 6, -2, 1, -1, 0, 0, 0, 0]),
    (.mxint4, [4, -3, 3, -1, 1, 0, 0, 0, 0, 0], [4, -3, 3, -1, 0, 0, 0, 0, 0, 0]),
    (.mxint3, [2, -2, 1, -1, 0, 0, 0, 0, 0, 0], [2, -2, 1, -1, 0, 0, 0, 0, 0, 0]),
    (.mxint2, [1, -1, 1, 0, 0, 0, 0, 0, 0, 0], [1, -1, 1, 0, 0, 0, 0, 0, 0, 0]),
  ] as [(MXFormat, [Int], [Int])])
  func exampleInLowerIntegers(format: MXFormat, direct: [Int], sliced: [Int]) throws {
    let quantized = ScalarCodec.quantize(row: example, as: format)
    #expect(integers(quantized) == direct && quantized.scales == [127])
    let slice = try cut(example, .mxint8, format)
    #expect(integers(slice) == sliced && slice.scales == [127])
  }

  @Test func exampleInE4M3() {
    let packed = ScalarCodec.quantize(row: example, as: .mxfp8_e4m3)
    #expect(packed.scales == [119])
    #expect(elements(packed, .mxfp8_e4m3) == [256, -192, 176, -80, 32, -26, 15, 5, -1.25, 0.25])
    #expect(packed.codes.prefix(10) == [0x78, 0xF4, 0x73, 0xEA, 0x60, 0xDD, 0x57, 0x4A, 0xBA, 0x28])
  }

  @Test(arguments: [
    (MXFormat.mxfp4, 125, [4, -3, 3, -1, 0.5, -0.5, 0, 0, 0, 0]),
    (.mxfp6_e2m3, 125, [4, -3, 2.75, -1.25, 0.5, -0.375, 0.25, 0.125, 0, 0]),
    (.mxfp6_e3m2, 123, [16, -12, 12, -5, 2, -1.5, 1, 0.3125, -0.0625, 0]),
  ] as [(MXFormat, UInt8, [Float])])
  func exampleInLowerFloats(format: MXFormat, byte: UInt8, values: [Float]) throws {
    for packed in [ScalarCodec.quantize(row: example, as: format), try cut(example, .mxfp8_e4m3, format)] {
      #expect(packed.scales == [byte])
      #expect(elements(packed, format) == values)
      #expect(packed.codes[8] & format.element.signMask != 0, "the zero at index 8 is negative")
      #expect(packed.codes[9] == 0)
    }
  }

  @Test func exampleAsNibbles() {
    let codes = ScalarCodec.quantize(row: example, as: .mxfp4).codes
    #expect(codes.prefix(10) == [6, 0xD, 5, 0xA, 1, 9, 0, 0, 8, 0])
    let pairs = stride(from: 0, to: 10, by: 2).map { codes[$0] | codes[$0 + 1] << 4 }
    #expect(pairs == [0xD6, 0xA5, 0x91, 0x00, 0x08])
  }

  @Test func exampleInE5M2() throws {
    let packed = ScalarCodec.quantize(row: example, as: .mxfp8_e5m2)
    #expect(packed.scales == [112])
    #expect(elements(packed, .mxfp8_e5m2) == [32768, -24576, 24576, -10240, 4096, -3072, 2048, 640, -160, 32])
    #expect(elements(try cut(example, .mxfp8_e5m2, .mxfp6_e2m3), .mxfp6_e2m3)[2] == 3)
  }

  @Test(arguments: MXFormat.all) func zeroBlocks(format: MXFormat) throws {
    let zero = ScalarCodec.PackedRow(codes: Array(repeating: 0, count: 40), scales: [0, 0])
    #expect(ScalarCodec.quantize(row: Array(repeating: 0, count: 40), as: format) == zero)
    #expect(ScalarCodec.quantize(row: Array(repeating: -0.0, count: 40), as: format) == zero)
    for target in SlicePlan.formatsCut(from: format) {
      #expect(ScalarCodec.slice(zero, plan: try SlicePlan(from: format, to: target)) == zero)
    }
  }

  @Test(arguments: MXFormat.all, [Float.nan, .infinity, -.infinity, .signalingNaN])
  func oneBadElementSpoilsItsBlock(format: MXFormat, bad: Float) throws {
    var row = Array(repeating: example, count: 2).flatMap { $0 }
    row[7] = bad
    let packed = ScalarCodec.quantize(row: row, as: format)
    #expect(packed.scales[0] == 255 && packed.codes[..<32].allSatisfy { $0 == 0 })
    #expect(packed.scales[1] != 255)
    let decoded = ScalarCodec.dequantize(packed, from: format)
    #expect(decoded[..<32].allSatisfy(\.isNaN) && decoded[32...].allSatisfy(\.isFinite))
    for target in SlicePlan.formatsCut(from: format) {
      let sliced = ScalarCodec.slice(packed, plan: try SlicePlan(from: format, to: target))
      #expect(sliced.scales[0] == 255 && sliced.codes[..<32].allSatisfy { $0 == 0 })
    }
  }

  @Test func smallestScales() throws {
    let tiny = ScalarCodec.quantize(row: [0x1p-130], as: .mxfp8_e4m3)
    #expect(tiny == .init(codes: [0x20], scales: [0]))
    #expect(ScalarCodec.dequantize(tiny, from: .mxfp8_e4m3) == [0x1p-130])

    // Below 2^-119 the anchor's byte is clamped, so its slice need not be what direct quantization gives.
    let edge: [Float] = [0x1.8p-124]
    let anchor = ScalarCodec.quantize(row: edge, as: .mxfp8_e4m3)
    #expect(anchor.scales == [0] && MXFormat.mxfp8_e4m3.element.decode(anchor.codes[0]) == 12)
    #expect(try cut(edge, .mxfp8_e4m3, .mxfp4) == .init(codes: [0], scales: [0]))
    let direct = ScalarCodec.quantize(row: edge, as: .mxfp4)
    #expect(direct.scales == [1] && MXFormat.mxfp4.element.decode(direct.codes[0]) == 6)
  }

  @Test func largestScales() throws {
    let anchor = ScalarCodec.quantize(row: [0x1p127], as: .mxfp8_e4m3)
    #expect(anchor.scales == [246] && MXFormat.mxfp8_e4m3.element.decode(anchor.codes[0]) == 256)
    for packed in [try cut([0x1p127], .mxfp8_e4m3, .mxfp4), ScalarCodec.quantize(row: [0x1p127], as: .mxfp4)] {
      #expect(packed.scales == [252] && MXFormat.mxfp4.element.decode(packed.codes[0]) == 4)
    }
    let largest = ScalarCodec.quantize(row: [.greatestFiniteMagnitude], as: .mxint8)
    #expect(largest == .init(codes: [127], scales: [254]))
    #expect(ScalarCodec.dequantize(largest, from: .mxint8) == [0x1.FCp127])
  }

  @Test(arguments: MXFormat.all) func shortBlocksEqualPaddedOnes(format: MXFormat) {
    let row = (0..<50).map { (index: Int) -> Float in
      let value = Float(index * 37 % 101 - 50)
      return index < 32 ? value : value / 100
    }
    let short = ScalarCodec.quantize(row: row, as: format)
    let padded = ScalarCodec.quantize(row: row + Array(repeating: 0, count: 14), as: format)
    #expect(short.scales.count == 2 && short.scales == padded.scales)
    #expect(short.codes == Array(padded.codes.prefix(50)))
    #expect(short.scales[0] != short.scales[1])
  }

  /// Quantizing what was dequantized gives every code and scale back; a block's own width is its identity.
  @Test(arguments: MXFormat.all) func idempotent(format: MXFormat) throws {
    for exponent in stride(from: -149, through: 127, by: 6) {
      let row = (0..<64).map { index -> Float in
        let bits = UInt32(truncatingIfNeeded: (index + 1) &* 0x9E37_79B9 &+ exponent &* 0x85EB_CA6B)
        return Float(sign: bits & 1 == 0 ? .plus : .minus, exponent: exponent - Int(bits >> 28),
          significand: Float(bitPattern: 0x3F80_0000 | bits >> 4 & 0x7F_FFFF))
      }
      let packed = ScalarCodec.quantize(row: row, as: format)
      #expect(ScalarCodec.quantize(row: ScalarCodec.dequantize(packed, from: format), as: format) == packed)
      #expect(ScalarCodec.slice(packed, plan: try SlicePlan(from: format, to: format)) == packed)
    }
  }
}
