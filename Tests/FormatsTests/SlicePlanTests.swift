import Formats
import Testing

/// CRC-32 with the polynomial of zlib.
private func crc32(_ bytes: [UInt8]) -> UInt32 {
  ~bytes.reduce(~UInt32(0)) { crc, byte in
    (0..<8).reduce(crc ^ UInt32(byte)) { value, _ in value >> 1 ^ (value & 1 == 1 ? 0xEDB8_8320 : 0) }
  }
}

private func e(_ exponentBits: Int, _ mantissaBits: Int) -> MXFormat {
  MXFormat("e\(exponentBits)m\(mantissaBits)", .float(exponentBits: exponentBits, mantissaBits: mantissaBits))
}

private func integer(_ bits: Int) -> MXFormat { MXFormat.all.first { $0.family == .integer && $0.bits == bits }! }

extension SlicePlan {
  /// The signed integer that an integer code becomes.
  fileprivate func sliced(_ p: Int) -> Int { Int(Int8(bitPattern: table[Int(UInt8(bitPattern: Int8(p)))])) }
}

@Suite struct SlicePlanTests {
  @Test func checkValueOfTheCRC() { #expect(crc32(Array("123456789".utf8)) == 0xCBF4_3926) }

  /// Every count of the slices of MXINT8 over the codes -127...127.
  @Test(arguments: [
    (7, 128, 3, 126, 2, 127, 64, 64, 0x4316_1497), (6, 64, 5, 123, 4, 126, 32, 96, 0xC97F_E6A2),
    (5, 32, 9, 117, 8, 124, 16, 112, 0x5952_2815), (4, 16, 17, 105, 16, 120, 8, 120, 0x2D2F_CFF6),
    (3, 8, 33, 81, 32, 112, 4, 124, 0x2A23_0A2D), (2, 4, 65, 33, 64, 96, 2, 126, 0xFBF4_77D3),
  ] as [(Int, Int, Int, Int, Int, Int, Int, Int, UInt32)])
  func integerTables(
    bits: Int, ties: Int, zeros: Int, reachesLargest: Int, clamped: Int, clampedFrom: Int, unlikeHalfAway: Int,
    unlikeShift: Int, crc: UInt32
  ) throws {
    let plan = try SlicePlan(from: .mxint8, to: integer(bits))
    let largest = 1 << (bits - 1) - 1, divisor = 1 << (8 - bits)
    let codes = Array(-127...127)
    let clamp = { (p: Int) in max(-largest, min(largest, p)) }
    let exact = { (p: Int) in Double(p) / Double(divisor) }

    #expect(plan.scaleDelta == 0)
    #expect(codes.count { abs(exact($0)).truncatingRemainder(dividingBy: 1) == 0.5 } == ties)
    #expect(codes.count { plan.sliced($0) == 0 } == zeros)
    #expect(codes.filter { plan.sliced($0) == largest }.min() == reachesLargest)
    let past = codes.filter { abs(exact($0).rounded(.toNearestOrEven)) > Double(largest) }
    #expect(past.count == clamped)
    #expect(past.map(abs).min() == clampedFrom)
    #expect(codes.count { plan.sliced($0) != clamp(Int(exact($0).rounded(.toNearestOrAwayFromZero))) } == unlikeHalfAway)
    #expect(codes.count { plan.sliced($0) != $0 >> (8 - bits) } == unlikeShift)
    #expect(crc32((0...127).map { plan.table[$0] }) == crc)
    for p in codes { #expect(plan.sliced(-p) == -plan.sliced(p)) }
    #expect(plan.sliced(-128) == -largest)
  }

  /// Every count of the slices of the 8-bit floats over their non-negative finite codes.
  @Test(arguments: [
    (MXFormat.mxfp8_e4m3, e(4, 2), 0, 63, 2, nil, 0x7097_8D71), (.mxfp8_e4m3, e(3, 3), 4, 8, 41, nil, 0x2E86_C111),
    (.mxfp8_e4m3, .mxfp6_e3m2, 4, 31, 49, nil, 0xC33F_2624), (.mxfp8_e4m3, .mxfp6_e2m3, 6, 8, 73, nil, 0x7D7B_8183),
    (.mxfp8_e4m3, e(3, 1), 4, 15, 57, 448, 0x4C1A_DFE6), (.mxfp8_e4m3, e(2, 2), 6, 15, 81, nil, 0x5378_9E97),
    (.mxfp8_e4m3, .mxfp4, 6, 7, 89, 448, 0xE99E_977D),
    (.mxfp8_e5m2, e(4, 2), 7, 4, 53, nil, 0xAFC2_5B03), (.mxfp8_e5m2, e(3, 3), 11, 4, 81, nil, 0x6A95_59A6),
    (.mxfp8_e5m2, .mxfp6_e3m2, 11, 4, 85, nil, 0x45EE_5A7B), (.mxfp8_e5m2, .mxfp6_e2m3, 13, 4, 97, nil, 0xF9D8_E305),
    (.mxfp8_e5m2, e(3, 1), 11, 15, 89, 57344, 0xC464_CF24), (.mxfp8_e5m2, e(2, 2), 13, 4, 101, nil, 0x31EF_4235),
    (.mxfp8_e5m2, .mxfp4, 13, 7, 105, 57344, 0x61A7_6BC8),
  ] as [(MXFormat, MXFormat, Int, Int, Int, Float?, UInt32)])
  func floatTables(
    anchor: MXFormat, target: MXFormat, delta: Int, ties: Int, zeros: Int, saturating: Float?, crc: UInt32
  ) throws {
    let plan = try SlicePlan(from: anchor, to: target)
    let codes = Array(0...anchor.element.maxCode)
    let shift = Float(sign: .plus, exponent: -delta, significand: 1)
    let grid = (0...target.element.maxCode).map { target.element.decode($0) }
    let middles = zip(grid, grid.dropFirst()).map { ($0 + $1) / 2 }
    let step = grid[grid.count - 1] - grid[grid.count - 2]

    #expect(plan.scaleDelta == delta)
    #expect(codes.count { middles.contains(anchor.element.decode($0) * shift) } == ties)
    #expect(codes.count { plan.table[Int($0)] == 0 } == zeros)
    let past = codes.map { anchor.element.decode($0) }.filter { $0 * shift >= target.element.maxValue + step / 2 }
    #expect(past == (saturating.map { [$0] } ?? []))
    #expect(crc32(codes.map { plan.table[Int($0)] }) == crc)
    for code in codes {
      #expect(plan.table[Int(code | anchor.element.signMask)] == plan.table[Int(code)] | target.element.signMask)
    }
    #expect(plan.table.allSatisfy(target.element.isFinite))
  }

  @Test func knownIntegerCodes() throws {
    let four = try SlicePlan(from: .mxint8, to: .mxint4)
    let pairs = [
      7: 0, 8: 0, 9: 1, 24: 2, 25: 2, 40: 2, 41: 3, 56: 4, 72: 4, 73: 5, 88: 6, 104: 6, 120: 7, 127: 7,
    ]
    for (p, expected) in pairs {
      #expect(four.sliced(p) == expected)
      #expect(four.sliced(-p) == -expected)
    }
    let six = try SlicePlan(from: .mxint8, to: .mxint6)
    for (p, expected) in [2: 0, 3: 1, 6: 2, 10: 2, 126: 31] { #expect(six.sliced(p) == expected) }
    let two = try SlicePlan(from: .mxint8, to: .mxint2)
    #expect(two.sliced(32) == 0 && two.sliced(33) == 1 && two.sliced(-33) == -1)
  }

  @Test func valuesOfE2M1CutFromE4M3() throws {
    let plan = try SlicePlan(from: .mxfp8_e4m3, to: .mxfp4)
    let values = (0...0x7E).map { MXFormat.mxfp4.element.decode(plan.table[$0]) }
    let counts = [0, 0.5, 1, 1.5, 2, 3, 4, 6].map { value in values.count { $0 == value } }
    #expect(counts == [89, 11, 7, 3, 5, 3, 5, 4])
    let grid = (0..<8).map { MXFormat.mxfp4.element.decode($0) }
    let middles = zip(grid, grid.dropFirst()).map { 64 * ($0 + $1) / 2 }
    let anchored = (0...0x7E).map { MXFormat.mxfp8_e4m3.element.decode($0) }
    #expect(anchored.filter(middles.contains) == [16, 48, 80, 112, 160, 224, 320])
    #expect(anchored.filter { $0 / 64 > 6 } == [416, 448])
  }

  @Test(arguments: [([6, 4], 28), ([4, 2], 16), ([5, 3], 24), ([7, 4], 14), ([6, 2], 4)])
  func chainingDiffersFromSlicing(widths: [Int], differing: Int) throws {
    let direct = try SlicePlan(from: .mxint8, to: integer(widths[1]))
    let first = try SlicePlan(from: .mxint8, to: integer(widths[0]))
    let largest = Double(1 << (widths[1] - 1) - 1), divisor = Double(1 << (widths[0] - widths[1]))
    let chained = { (p: Int) in
      Int(max(-largest, min(largest, (Double(first.sliced(p)) / divisor).rounded(.toNearestOrEven))))
    }
    #expect((-127...127).count { chained($0) != direct.sliced($0) } == differing)
    if widths == [6, 4] { #expect(first.sliced(9) == 2 && chained(9) == 0 && direct.sliced(9) == 1) }
  }

  @Test func ownWidthIsTheIdentity() throws {
    for format in MXFormat.all {
      let plan = try SlicePlan(from: format, to: format)
      #expect(plan.isIdentity && plan.scaleDelta == 0 && plan.table == Array(0...255))
    }
    #expect(try !SlicePlan(from: .mxint8, to: .mxint7).isIdentity)
  }

  @Test func whatCanBeCut() {
    #expect(SlicePlan.formatsCut(from: .mxint8) == MXFormat.all.filter { $0.family == .integer })
    #expect(SlicePlan.formatsCut(from: .mxfp8_e4m3) == [.mxfp4, .mxfp6_e2m3, .mxfp6_e3m2, .mxfp8_e4m3])
    #expect(SlicePlan.formatsCut(from: .mxfp8_e5m2) == [.mxfp4, .mxfp6_e2m3, .mxfp6_e3m2, .mxfp8_e5m2])
    #expect(SlicePlan.formatsCut(from: .mxint6) == [.mxint6])
    #expect(SlicePlan.formatsCut(from: e(4, 2)) == [e(4, 2)])
  }

  @Test(arguments: [
    (MXFormat.mxint8, MXFormat.mxfp4, "different families"), (.mxfp8_e4m3, .mxfp8_e5m2, "not narrower"),
    (.mxfp8_e5m2, .mxfp8_e4m3, "not narrower"), (.mxint6, .mxint4, "is no anchor"), (.mxint4, .mxint8, "is no anchor"),
    (.mxfp6_e2m3, .mxfp4, "is no anchor"),
  ])
  func refusalsSayWhatIsPossible(anchor: MXFormat, target: MXFormat, reason: String) {
    let error = #expect(throws: SliceError.self) { try SlicePlan(from: anchor, to: target) }
    #expect(error?.possible == SlicePlan.formatsCut(from: anchor))
    #expect(error.map { "\($0)".contains(reason) && "\($0)".contains("cannot slice \(target) from \(anchor)") } == true)
  }
}
