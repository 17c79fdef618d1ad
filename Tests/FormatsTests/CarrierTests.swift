import Formats
import Testing

/// What products multiply in place of an element: a byte or a bf16 number (T23, T27 of the low-precision reference).
@Suite struct CarrierTests {
  static let largest: [(MXFormat, shift: Int, integer: Int)] = [
    (.mxint8, 6, 127), (.mxint7, 5, 63), (.mxint6, 4, 31), (.mxint5, 3, 15), (.mxint4, 2, 7), (.mxint3, 1, 3),
    (.mxint2, 0, 1), (.mxfp4, 1, 12), (.mxfp6_e2m3, 3, 60),
  ]

  @Test(arguments: largest.map(\.0))
  func bytesCarryTheValues(_ format: MXFormat) {
    let (_, shift, integer) = Self.largest.first { $0.0 == format }!
    let element = format.element
    #expect(element.isByteCarried && element.integerShift == shift)
    #expect(element.carriers.map { abs(Int($0)) }.max() == integer)
    for code in element.finiteCodes {
      #expect(Float(element.carriers[Int(code)]) / Float(1 << shift) == element.decode(code))
    }
  }

  @Test(arguments: [MXFormat.mxfp6_e3m2, .mxfp8_e4m3, .mxfp8_e5m2])
  func theOthersNeedMore(_ format: MXFormat) { #expect(!format.element.isByteCarried) }

  static let ranges: [(MXFormat, ClosedRange<Int>)] = [
    (.mxint8, -120...127), (.mxfp4, -125...125), (.mxfp6_e2m3, -123...125), (.mxfp6_e3m2, -122...123),
    (.mxfp8_e4m3, -117...119), (.mxfp8_e5m2, -110...112),
  ]

  /// Inside the range every value is a bf16 number; one step outside one is not.
  @Test(arguments: ranges.map(\.0))
  func bf16HoldsEveryValueInsideItsRange(_ format: MXFormat) {
    let element = format.element, range = element.bf16Exponents
    #expect(range == Self.ranges.first { $0.0 == format }!.1)
    func isExact(_ exponent: Int) -> Bool {
      element.finiteCodes.allSatisfy { code in
        let value = Double(element.decode(code)) * Double(sign: .plus, exponent: exponent, significand: 1)
        let float = Float(value)
        return value == 0 || float.isNormal && Double(float) == value && float.bitPattern & 0xFFFF == 0
      }
    }
    #expect(isExact(range.lowerBound) && isExact(range.upperBound))
    #expect(!isExact(range.lowerBound - 1))
    #expect(!isExact(range.upperBound + 1))
  }
}
