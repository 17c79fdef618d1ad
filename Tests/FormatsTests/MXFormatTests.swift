import Formats
import Testing

@Suite struct MXFormatTests {
  @Test func namesAreKnownInAnyCase() throws {
    #expect(MXFormat.all.count == 12)
    #expect(Set(MXFormat.all.map(\.name)).count == 12)
    for format in MXFormat.all {
      #expect(try MXFormat(named: format.name) == format)
      #expect(try MXFormat(named: format.name.uppercased()) == format)
      #expect("\(format)" == format.name)
    }
  }

  @Test func formatsAscendWithinTheirFamily() {
    for family in MXFormat.Family.allCases {
      let bits = MXFormat.all.filter { $0.family == family }.map(\.bits)
      #expect(bits == bits.sorted())
    }
    #expect(MXFormat.all.filter { $0.family == .integer }.count == 7)
  }

  @Test(arguments: [
    ("mxint44", "mxint4"), ("mxfp6_e2m1", "mxfp6_e2m3"), ("int8", "mxint8"), ("fp4", "mxfp4"), ("", "mxfp4"),
  ])
  func unknownNamesGetTheNearest(name: String, nearest: String) {
    let error = #expect(throws: UnknownFormat.self) { try MXFormat(named: name) }
    #expect(error?.nearest == nearest)
    #expect(error.map { "\($0)".contains("known formats: mxint2, ") && "\($0)".contains("'\(name)'") } == true)
  }

  @Test func familiesWithoutASplitAreAmbiguous() {
    let error = #expect(throws: UnknownFormat.self) { try MXFormat(named: "mxfp8") }
    #expect(error?.candidates == ["mxfp8_e4m3", "mxfp8_e5m2"])
    #expect(error.map { "\($0)".contains("mxfp8_e4m3 or mxfp8_e5m2") } == true)
    #expect(throws: UnknownFormat.self) { try MXFormat(named: "mxfp6") }
  }

  @Test func widthsAndAnchors() {
    #expect(MXFormat.mxint4.bitsPerWeight == 4.25)
    #expect(MXFormat.mxfp6_e2m3.bitsPerWeight == 6.25)
    #expect(MXFormat.mxint8.bitsPerWeight == 8.25)
    #expect(MXFormat.all.filter(\.isAnchor) == [.mxint8, .mxfp8_e4m3, .mxfp8_e5m2])
  }

  @Test(arguments: [
    (MXFormat.mxint8, 17_301_504), (.mxfp8_e4m3, 17_301_504), (.mxfp6_e3m2, 13_107_200), (.mxfp4, 8_912_896),
    (.mxint4, 8_912_896), (.mxint2, 4_718_592),
  ])
  func storageOfAMatrix(format: MXFormat, bytes: Int) {
    #expect(format.packedByteCount(rows: 4096, columns: 4096) == bytes)
  }

  @Test func storageOfABlock() {
    let blocks = MXFormat.all.filter { $0.family == .integer }.map { $0.packedByteCount(rows: 1, columns: 32) }
    #expect(blocks == [9, 13, 17, 21, 25, 29, 33])
  }
}

@Suite struct ScaleRuleTests {
  @Test func namesRoundTrip() {
    for rule in ScaleRule.allCases { #expect(ScaleRule(rule.name) == rule) }
    #expect(ScaleRule("FLOOR") == .floor)
    #expect(ScaleRule("ceil") == nil)
  }

  /// Scale exponents (byte - 127) of floor, rceil, even, and what the maximum decodes to.
  @Test(arguments: [
    (MXFormat.mxfp4, 5, [0, 0, 0], [4, 4, 4]), (.mxfp4, 6, [0, 0, 0], [6, 6, 6]), (.mxfp4, 6.5, [0, 1, 0], [6, 6, 6]),
    (.mxfp4, 7, [0, 1, 1], [6, 8, 8]), (.mxfp4, 8, [1, 1, 1], [8, 8, 8]),
    (.mxfp8_e4m3, 448, [0, 0, 0], [448, 448, 448]), (.mxfp8_e4m3, 449, [0, 1, 0], [448, 448, 448]),
    (.mxfp8_e4m3, 480, [0, 1, 0], [448, 480, 448]), (.mxfp8_e4m3, 511, [0, 1, 1], [448, 512, 512]),
  ] as [(MXFormat, Float, [Int], [Float])])
  func exponents(format: MXFormat, maximum: Float, exponents: [Int], decoded: [Float]) {
    for (index, rule) in [ScaleRule.floor, .rceil, .even].enumerated() {
      #expect(Int(rule.scaleByte(forMaximum: maximum, element: format.element)) - 127 == exponents[index])
      let packed = ScalarCodec.quantize(row: [maximum], as: format, rule: rule)
      #expect(ScalarCodec.dequantize(packed, from: format) == [decoded[index]])
    }
  }

  @Test func exponentComesFromTheBitsNotFromALogarithm() {
    let justBelow1024 = Float(bitPattern: 0x447F_FFFF)
    #expect(ScaleRule.floor.scaleByte(forMaximum: justBelow1024, element: MXFormat.mxfp8_e4m3.element) == 128)
    for exponent in -120...127 {
      let power = Float(sign: .plus, exponent: exponent, significand: 1)
      let element = MXFormat.mxint8.element
      #expect(ScaleRule.floor.scaleByte(forMaximum: power, element: element) == UInt8(exponent + 127))
      #expect(ScaleRule.floor.scaleByte(forMaximum: power.nextDown, element: element) == UInt8(exponent + 126))
    }
  }

  @Test func endsOfTheRange() {
    for format in MXFormat.all {
      for rule in ScaleRule.allCases {
        #expect(rule.scaleByte(forMaximum: 0, element: format.element) == 0)
        #expect(rule.scaleByte(forMaximum: .leastNonzeroMagnitude, element: format.element) == 0)
        #expect(rule.scaleByte(forMaximum: .greatestFiniteMagnitude, element: format.element) <= 254)
        #expect(rule.scaleByte(forMaximum: .nan, element: format.element) == 255)
        #expect(rule.scaleByte(forMaximum: .infinity, element: format.element) == 255)
      }
    }
  }

  @Test func scaleValues() {
    #expect(E8M0.value(0) == 0x1p-127)
    #expect(E8M0.value(127) == 1)
    #expect(E8M0.value(254) == 0x1p127)
    #expect(E8M0.value(255).isNaN && E8M0.exponent(255) == nil)
    #expect(E8M0.exponent(0) == -127)
  }
}
