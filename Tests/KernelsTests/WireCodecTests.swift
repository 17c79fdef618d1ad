import Kernels
import Tensors
import Testing

/// Codes of the wire against their definition, in every table.
@Suite(.keepsOperands) struct WireCodecTests {
  static let groups = [32, 96, 128, 2048]
  /// Around a block, a vector, the groups; and a run of many groups.
  static let counts = [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 160, 255, 257, 2047, 2048, 2049, 4500]

  private let normals = Normals(31)
  private func values(_ count: Int, from first: Int = 0) -> [Float] {
    (first..<first + count).map { normals[$0] * (($0 / 100) % 3 == 0 ? 0x1p-20 : 3) }
  }

  private func check(_ x: [Float], _ test: WireCase) {
    let expected = WireDefinition.pack(x, test), values = WireDefinition.unpack(expected, test.codec)
    let sum = values.indices.map { normals[$0 + 90_000] }
    for table in KernelTable.available {
      let payload = test.pack(x, on: table)
      #expect(payload.scales == expected.scales, "\(table.name), \(x.count) values, \(test)")
      #expect(payload.codes == expected.codes, "\(table.name), \(x.count) values, \(test)")
      #expect(payload.residual == expected.residual, "\(table.name), \(x.count) values, \(test)")
      let unpacked = test.unpack(expected, count: x.count, on: table)
      #expect(unpacked.patterns == values.patterns, "\(table.name), \(x.count) values, \(test)")
      let added = test.unpack(expected, count: x.count, sum: sum, on: table)
      #expect(added.patterns == zip(sum, values).map { $0 + $1 }.patterns, "\(table.name), \(x.count) values, \(test)")
    }
  }

  @Test func skippedTables() {
    let names = KernelTable.available.map(\.name)
    let skipped = ["avx512", "avx2"].filter { !names.contains($0) }
    if !skipped.isEmpty { print("wire: this processor cannot run \(skipped.joined(separator: ", "))") }
  }

  @Test(arguments: WireCodec.Bits.allCases, groups) func everyTableIsTheDefinition(bits: WireCodec.Bits, group: Int) {
    let random = CounterRandom(seed: 5, stream: "wire")
    for (index, count) in Self.counts.enumerated() {
      let x = values(count)
      for choice in 0..<8 {
        var test = WireCase(codec: WireCodec(bits: bits, group: group), rotated: choice & 1 != 0)
        if choice & 2 != 0 { test.rounding = .stochastic(random, first: UInt64(index * 977)) }
        if choice & 4 != 0 { test.residual = values(test.codec.paddedCount(count), from: 50_000).map { $0 * 0.1 } }
        test.misalignment = (index * 5 + choice) % 64
        check(x, test)
      }
    }
  }

  /// Numbers of elements where a word of the counter carries, and where 64 bits end.
  @Test(arguments: [0, 5, 1 << 35 - 200, 1 << 35 - 203, .max - 300, .max - 8, .max] as [UInt64])
  func elementsCountModulo64Bits(first: UInt64) {
    let random = CounterRandom(seed: 6, stream: "wire")
    for bits in WireCodec.Bits.allCases {
      let codec = WireCodec(bits: bits, group: 128)
      check(values(2500), WireCase(codec: codec, rounding: .stochastic(random, first: first)))
    }
  }

  @Test func zerosTinyNumbersAndWhatIsNoNumber() {
    let special: [(String, Float)] = [
      ("zero", 0), ("least", .leastNonzeroMagnitude), ("subnormal", 0x1p-130), ("below", 0x1.fffffep-101),
      ("limit", 0x1p-100), ("large", 0x1.fffffep126), ("too large", 0x1p127),
      ("greatest", .greatestFiniteMagnitude), ("infinity", .infinity), ("NaN", .nan),
    ]
    for (name, value) in special {
      for bits in WireCodec.Bits.allCases {
        for choice in 0..<8 {
          var test = WireCase(codec: WireCodec(bits: bits, group: 128), rotated: choice & 1 != 0)
          if choice & 2 != 0 { test.rounding = .stochastic(CounterRandom(seed: 1), first: 3) }
          var x = [Float](repeating: 0, count: 300)
          x[140] = value
          x[150] = -value / 3
          if choice & 4 != 0 { test.residual = [Float](repeating: value.isFinite ? value / 64 : 1, count: 320) }
          check(x, test)
          guard test.residual == nil else { continue }
          let payload = test.pack(x, on: .available[0])
          let y = test.unpack(payload, count: 300, on: .available[0])
          #expect(y[..<128].allSatisfy { $0 == 0 } && y[256...].allSatisfy { $0 == 0 }, "\(name)")
          if !(value < 0x1p127) { #expect(y[128..<256].allSatisfy { $0.isNaN }, "\(name)") }
          if value.isFinite && value < 0x1p-105 { #expect(y.allSatisfy { $0 == 0 }, "\(name)") }
          if !test.rotated && value == 0x1.fffffep126 { #expect(abs(y[140] / value - 1) < 1e-6) }
        }
      }
    }
  }

  /// A group that cannot be sent leaves its residual alone; one too small to be sent keeps all of it.
  @Test func residualOfWhatIsNotSent() {
    for table in KernelTable.available {
      var test = WireCase(codec: WireCodec(bits: .four, group: 128))
      test.residual = (0..<256).map { $0 < 128 ? Float($0) : 0 }
      let x = (0..<256).map { $0 == 7 ? Float.nan : $0 < 128 ? 1 : 0x1p-110 }
      let kept = test.pack(x, on: table).residual!.map(Float.init(bitPattern:))
      #expect(Array(kept[..<128]) == Array(test.residual![..<128]), "\(table.name)")
      #expect(kept[128...].allSatisfy { $0 == 0x1p-110 }, "\(table.name)")
    }
  }

  /// No largest number has a code beyond 7 or 127, whichever way it is rounded.
  @Test func codesStayOnTheGrid() {
    let random = CounterRandom(seed: 2, stream: "grid")
    for bits in WireCodec.Bits.allCases {
      let codec = WireCodec(bits: bits, group: 32), top = bits == .four ? 7 : 127
      for rounding in [WireCodec.Rounding.nearest, .stochastic(random, first: 0)] {
        // The largest of a block and its negative, with random mantissas.
        let x = (0..<1 << 16).map { i in
          let mantissa = UInt32(truncatingIfNeeded: random.word(UInt64(i / 32)) & 0x7F_FFFF)
          let largest = Float(bitPattern: 0x3F80_0000 | mantissa)
          return i % 2 == 0 ? largest : -largest
        }
        let test = WireCase(codec: codec, rounding: rounding)
        let payload = test.pack(x, on: .available[0])
        let unscaled = WirePayload(
          scales: payload.scales.map { _ in Float(1).bitPattern }, codes: payload.codes, residual: nil)
        let codes = WireDefinition.unpack(unscaled, codec)
        #expect(codes.indices.allSatisfy { codes[$0] == Float($0 % 2 == 0 ? top : -top) })
      }
    }
  }

  @Test func sizes() {
    let gradient = WireCodec(bits: .four, group: 128), first = WireCodec(bits: .eight, group: 128)
    let weights = WireCodec(bits: .four, group: 2048)
    #expect(gradient.effectiveBits == 4.25 && first.effectiveBits == 8.25 && weights.effectiveBits == 4.015625)
    #expect(gradient.paddedCount(0) == 0 && gradient.paddedCount(1) == 32 && gradient.paddedCount(64) == 64)
    #expect([0, 1, 128, 129].map(gradient.byteCount(of:)) == [0, 4 + 16, 4 + 64, 8 + 80])
    #expect(first.byteCount(of: 129) == 8 + 160 && weights.byteCount(of: 2049) == 8 + 1024 + 16)
    for codec in [gradient, first, weights] {
      #expect(Double(codec.byteCount(of: 1 << 20)) * 8 == codec.effectiveBits * Double(1 << 20))
    }
  }

  /// Zeros behind the last value are no values: they take no part in a scale, and arrive as zeros.
  @Test func paddingStaysOut() {
    for table in KernelTable.available {
      let test = WireCase(codec: WireCodec(bits: .eight, group: 128)), x = [Float](repeating: 0.5, count: 130)
      let payload = test.pack(x, on: table)
      #expect(payload.scales == [Float(0.5 / 127).bitPattern, Float(0.5 / 127).bitPattern], "\(table.name)")
      let y = test.unpack(payload, count: 130, on: table)
      #expect(y.count == 160 && y[130...].allSatisfy { $0 == 0 } && y[..<130].allSatisfy { $0 == y[0] })
    }
  }

  /// A run longer than a thread's piece.
  @Test func piecesAreTheWhole() {
    let count = 200_003, x = values(count)
    for codec in [WireCodec(bits: .four, group: 128), WireCodec(bits: .eight, group: 2048)] {
      var test = WireCase(codec: codec, rotated: true, rounding: .stochastic(CounterRandom(seed: 3), first: 11))
      test.residual = [Float](repeating: 0, count: codec.paddedCount(count))
      ThreadTeam.configure(threads: 3)
      let payload = test.pack(x, on: .available[0]), y = test.unpack(payload, count: count, on: .available[0])
      ThreadTeam.configure(threads: 1)
      #expect(payload == test.pack(x, on: .available[0]))
      #expect(y.patterns == test.unpack(payload, count: count, on: .available[0]).patterns)
      #expect(y.patterns == WireDefinition.unpack(payload, codec).patterns)
    }
  }
}
