import CKernels
import Formats
import Kernels
import Tensors
import Testing

/// Codes into panels, and scale bytes into scales.
@Suite(.keepsOperands) struct PackingTests {
  /// E2M1 and E2M3 as signed integers, and a table that uses every entry.
  private static let carriers: [[Int8]?] = [
    nil, carrier(of: .mxfp4, shift: 1), carrier(of: .mxfp6_e2m3, shift: 3),
    (0..<256).map { Int8(($0 * 89 + 5) % 255 - 127) },
  ]

  /// The integers of a format's codes; 0 for bytes that are none.
  private static func carrier(of format: MXFormat, shift: Int) -> [Int8] {
    (UInt8.min...UInt8.max).map { code in
      guard format.element.isFinite(code) else { return 0 }
      return Int8(format.element.decode(code) * Float(1 << shift))
    }
  }

  /// The layout of ck_panels.h stated again.
  @Test(arguments: [1, 15, 16, 17, 47, 64, 81], [1, 31, 32, 33, 65, 128])
  func layout(vectors: Int, depth: Int) throws {
    let random = CounterRandom(seed: 1, stream: "packing")
    let blocks = (depth + 31) / 32, panels = (vectors + 15) / 16
    for (choice, carrier) in Self.carriers.enumerated() {
      // Byte 0x80, which is no code, is among them: -128 never comes out.
      let matrix = (0..<vectors * depth).map { UInt8(truncatingIfNeeded: random.word(UInt64($0 + choice * 100_000))) }
      for (side, byColumns) in [(CK_LEFT, false), (CK_LEFT, true), (CK_RIGHT, false), (CK_RIGHT, true)] {
        var codes = [UInt8](repeating: side == CK_LEFT ? 0 : 128, count: panels * blocks * 512)
        var sums = [Int32](repeating: 0, count: panels * blocks * 16)
        for v in 0..<vectors {
          for k in 0..<depth {
            let code = matrix[byColumns ? k * vectors + v : v * depth + k]
            let value = max(-127, Int32(carrier.map { $0[Int(code)] } ?? Int8(bitPattern: code)))
            codes[v / 16 * blocks * 512 + k / 4 * 64 + v % 16 * 4 + k % 4] =
              UInt8(truncatingIfNeeded: side == CK_LEFT ? value : value + 128)
            sums[(v / 16 * blocks + k / 32) * 16 + v % 16] += value
          }
        }
        for table in KernelTable.available {
          let out = Panels(vectors: vectors, depth: depth)
          let pack = unsafe byColumns ? table.matmul.pack_columns! : table.matmul.pack_rows!
          let stride = Int64(byColumns ? vectors : depth)
          if let carrier {
            unsafe pack(side, Int64(vectors), Int64(depth), Bytes(matrix).pointer, stride, carrier, &out.raw)
          } else {
            unsafe pack(side, Int64(vectors), Int64(depth), Bytes(matrix).pointer, stride, nil, &out.raw)
          }
          let context = "\(table.name), \(side == CK_LEFT ? "left" : "right"), columns \(byColumns), carrier \(choice)"
          #expect(out.codes == codes, "\(context)")
          if side == CK_LEFT { #expect(out.sums == sums, "\(context)") }
        }
      }
    }
  }

  @Test func scales() {
    let vectors = 19, blocks = 27, shift = 6
    let bytes = (0..<vectors * blocks).map { UInt8(truncatingIfNeeded: $0) }
    for table in KernelTable.available {
      let scales = F32(zeros: 32 * blocks)
      unsafe table.matmul.pack_scales(Int64(vectors), Int64(blocks), bytes, Int32(shift), scales.pointer)
      let values = scales.values
      for v in 0..<32 {
        for b in 0..<blocks {
          let byte = v < vectors ? bytes[v * blocks + b] : 0, got = values[(v / 16 * blocks + b) * 16 + v % 16]
          if byte == 255 {
            #expect(got.isNaN)
          } else {
            #expect(got == (byte == 0 ? 1 : Float(sign: .plus, exponent: Int(byte) - 127 - shift, significand: 1)))
          }
        }
      }
    }
  }

  /// Codes are integers times a power of two that an int8 holds, where the reference says so; all of them are bf16.
  @Test(arguments: [
    (MXFormat.mxint8, 6, 127), (.mxint7, 5, 63), (.mxint6, 4, 31), (.mxint5, 3, 15), (.mxint4, 2, 7), (.mxint3, 1, 3),
    (.mxint2, 0, 1), (.mxfp4, 1, 12), (.mxfp6_e2m3, 3, 60), (.mxfp6_e3m2, 4, 448), (.mxfp8_e4m3, 9, 229_376),
    (.mxfp8_e5m2, 16, 3_758_096_384),
  ])
  func elementsAreIntegers(format: MXFormat, shift: Int, largest: Int) {
    let values = format.element.finiteCodes.map(format.element.decode)
    let integers = values.map { $0 * Float(sign: .plus, exponent: shift, significand: 1) }
    #expect(integers.allSatisfy { $0 == $0.rounded() })
    #expect(integers.map(\.magnitude).max() == Float(largest))
    #expect(values.allSatisfy { $0.bitPattern & 0xFFFF == 0 })
  }
}
