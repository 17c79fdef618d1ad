import Formats
import Testing

private let splits: [ElementFormat] =
  (2...8).map { .integer(bits: $0) }
  + [(2, 1), (2, 2), (3, 1), (2, 3), (3, 2), (2, 4), (3, 3), (4, 2), (4, 3), (5, 2)].map {
    .float(exponentBits: $0.0, mantissaBits: $0.1)
  }

private let e5m2 = MXFormat.mxfp8_e5m2.element
private let e4m3 = MXFormat.mxfp8_e4m3.element
private let e3m2 = MXFormat.mxfp6_e3m2.element
private let e2m3 = MXFormat.mxfp6_e2m3.element
private let e2m1 = MXFormat.mxfp4.element

@Suite struct ElementFormatTests {
  /// OCP MX v1.0, section 5.3: emax, largest value, smallest normal, smallest subnormal, bias.
  @Test(arguments: [
    (e5m2, 15, 57344, 0x1p-14, 0x1p-16, 15), (e4m3, 8, 448, 0x1p-6, 0x1p-9, 7), (e3m2, 4, 28, 0.25, 0.0625, 3),
    (e2m3, 2, 7.5, 1, 0.125, 1), (e2m1, 2, 6, 1, 0.5, 1),
    (MXFormat.mxint8.element, 0, 1.984375, 0x1p-6, 0x1p-6, 0),
    (.float(exponentBits: 4, mantissaBits: 2), 8, 448, 0x1p-6, 0x1p-8, 7),
    (.float(exponentBits: 3, mantissaBits: 3), 4, 30, 0.25, 0x1p-5, 3),
    (.float(exponentBits: 3, mantissaBits: 1), 4, 24, 0.25, 0.125, 3),
    (.float(exponentBits: 2, mantissaBits: 4), 2, 7.75, 1, 0.0625, 1),
    (.float(exponentBits: 2, mantissaBits: 2), 2, 7, 1, 0.25, 1),
  ] as [(ElementFormat, Int, Float, Float, Float, Int)])
  func limits(
    element: ElementFormat, emax: Int, largest: Float, smallestNormal: Float, smallestSubnormal: Float, bias: Int
  ) {
    #expect(element.emax == emax)
    #expect(element.maxValue == largest)
    #expect(element.smallestNormal == smallestNormal)
    #expect(element.smallestSubnormal == smallestSubnormal)
    #expect(element.bias == bias)
  }

  @Test func finiteCodesAreCounted() {
    #expect(e4m3.finiteCodes.count == 254)
    #expect(e5m2.finiteCodes.count == 248)
    for element in splits where element != e4m3 && element != e5m2 {
      #expect(element.finiteCodes.count == (element.isInteger ? 2 * Int(element.maxCode) + 1 : 1 << element.bits))
    }
  }

  @Test func decodesKnownCodes() {
    #expect(e4m3.decode(0x7E) == 448)
    #expect(e4m3.decode(0x7F).isNaN && e4m3.decode(0xFF).isNaN)
    #expect(e4m3.decode(0x08) == 0x1p-6)
    #expect(e4m3.decode(0x01) == 0x1p-9)
    #expect(e5m2.decode(0x7B) == 57344)
    #expect(e5m2.decode(0x7C) == .infinity && e5m2.decode(0xFC) == -.infinity)
    #expect(e5m2.decode(0x7D).isNaN && e5m2.decode(0xFF).isNaN)
    #expect(e3m2.decode(0x1F) == 28)
    #expect(e2m3.decode(0x1F) == 7.5)
    #expect((0..<8).map { e2m1.decode($0) } == [0, 0.5, 1, 1.5, 2, 3, 4, 6])
    #expect((8..<16).map { e2m1.decode($0) } == [0, -0.5, -1, -1.5, -2, -3, -4, -6])
    #expect(e2m1.decode(8).sign == .minus)
    #expect((MXFormat.mxint2.element.finiteCodes).map { MXFormat.mxint2.element.decode($0) } == [0, 1, -1])
    #expect(MXFormat.mxint8.element.decode(0x80) == -2)
  }

  @Test(arguments: splits) func everyFiniteCodeSurvives(element: ElementFormat) {
    for code in element.finiteCodes {
      #expect(element.encode(element.decode(code)) == code)
    }
  }

  @Test func halvesOfE2M1GoToEven() {
    let ties: [(Float, Float)] = [(0.25, 0), (0.75, 1), (1.25, 1), (1.75, 2), (2.5, 2), (3.5, 4), (5, 4)]
    for (value, rounded) in ties {
      #expect(e2m1.decode(e2m1.encode(value)) == rounded)
      #expect(e2m1.decode(e2m1.encode(-value)) == -rounded)
    }
  }

  @Test func saturatesAndNeverEmitsASpecial() {
    for value: Float in [449, 464, 465, 480, 496, 511, 512, 1e30, .greatestFiniteMagnitude, .infinity] {
      #expect(e4m3.encode(value) == 0x7E)
      #expect(e4m3.encode(-value) == 0xFE)
    }
    for value: Float in [57345, 61440, 65535, 65536, .infinity] { #expect(e5m2.encode(value) == 0x7B) }
    #expect(MXFormat.mxint8.element.encode(-2) == 0x81)
    #expect(MXFormat.mxint8.element.encode(-.infinity) == 0x81)
    #expect(MXFormat.mxint2.element.encode(-2) == 0xFF)
  }

  @Test func zeroKeepsTheSignOfFloatsOnly() {
    #expect(e2m1.encode(-0.0) == 0x8 && e2m1.encode(-0.01) == 0x8)
    #expect(e3m2.encode(-0.0) == 0x20)
    #expect(e4m3.encode(-0.0) == 0x80)
    #expect(MXFormat.mxint4.element.encode(-0.0) == 0 && MXFormat.mxint4.element.encode(-0.01) == 0)
  }

  /// Against a search in the list of values: nearest, ties to the even code. At every midpoint between two values, its
  /// fp32 neighbours, and beyond both ends.
  @Test(arguments: splits) func roundsToTheNearest(element: ElementFormat) {
    let codes = element.finiteCodes.filter { element.decode($0).sign == .plus }
    let values = codes.map { Double(element.decode($0)) }
    for (index, value) in values.enumerated() {
      let next = index + 1 < values.count ? values[index + 1] : 2 * value + 1
      let middle = Float((value + next) / 2)
      for probe in [Float(value), Float(value).nextUp, middle.nextDown, middle, middle.nextUp, Float(next).nextDown] {
        let distance = values.map { abs($0 - Double(probe)) }
        let nearest = distance.min()!
        let candidates = codes.indices.filter { distance[$0] == nearest }.map { codes[$0] }
        let expected = candidates.count == 1 ? candidates[0] : candidates.first { $0 % 2 == 0 }!
        #expect(element.encode(probe) == expected, "\(probe)")
        #expect(element.decode(element.encode(-probe)) == -element.decode(expected), "\(-probe)")
      }
    }
  }
}
