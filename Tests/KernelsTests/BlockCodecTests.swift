import CKernels
import Formats
import Kernels
import Tensors
import Testing

private let scalar = KernelTable.available.last!

/// Extension formats whose splits the named ones do not have.
private let formats = MXFormat.all + [(4, 2), (3, 3), (3, 1), (2, 2)].map {
  MXFormat("e\($0.0)m\($0.1)", .float(exponentBits: $0.0, mantissaBits: $0.1))
}

@Suite struct BlockCodecTests {
  @Test func theLastTableIsTheReference() { #expect(scalar.name == "scalar") }

  /// The scalar kernel against the rules stated in Swift.
  @Test(arguments: formats, ScaleRule.allCases) func scalarIsTheDefinition(format: MXFormat, rule: ScaleRule) {
    let harness = CodecHarness(table: scalar, rows: 40, columns: 83)
    let x = hostileValues(40 * 83, stream: 1)
    let packed = harness.quantize(x, format, rule)
    let values = harness.dequantize(packed, format)
    let blocks = PackedTensor.blockCount(83)
    for row in 0..<40 {
      let expected = ScalarCodec.quantize(row: Array(x[(row * 83)..<(row * 83 + 83)]), as: format, rule: rule)
      #expect(Array(packed.codes[(row * 83)..<(row * 83 + 83)]) == expected.codes)
      #expect(Array(packed.scales[(row * blocks)..<(row * blocks + blocks)]) == expected.scales)
      #expect(bits(Array(values[(row * 83)..<(row * 83 + 83)])) == bits(ScalarCodec.dequantize(expected, from: format)))
    }
  }

  /// Every table on every kind of bit pattern: all five entries equal the scalar ones to the bit.
  @Test(arguments: formats, ScaleRule.allCases) func tablesAgree(format: MXFormat, rule: ScaleRule) {
    let rows = 96, columns = 115
    let x = hostileValues(rows * columns, stream: 2), gradient = hostileValues(rows * columns, stream: 3)
    let reference = CodecHarness(table: scalar, rows: rows, columns: columns)
    let packed = reference.quantize(x, format, rule)
    let values = bits(reference.dequantize(packed, format))
    let clipped = bits(reference.clip(gradient, at: x, format, rule))
    for table in KernelTable.available {
      let harness = CodecHarness(table: table, rows: rows, columns: columns)
      #expect(harness.quantize(x, format, rule) == packed, "\(table.name)")
      #expect(bits(harness.dequantize(packed, format)) == values, "\(table.name)")
      #expect(bits(harness.roundTrip(x, format, rule)) == values, "\(table.name)")
      #expect(bits(harness.clip(gradient, at: x, format, rule)) == clipped, "\(table.name)")
    }
  }

  /// Lengths around the vectors and blocks, starts away from any alignment.
  @Test(arguments: [MXFormat.mxint8, .mxint3, .mxfp4, .mxfp8_e5m2]) func lengthsAndAlignments(format: MXFormat) throws {
    let slice = CompiledSlice(try SlicePlan(from: format, to: SlicePlan.formatsCut(from: format)[0]))
    for columns in 0...97 {
      let x = hostileValues(3 * columns, stream: UInt64(100 + columns)).map { $0.isFinite ? $0 : 1 }
      let gradient = x.map { $0 + 1 }
      let reference = CodecHarness(table: scalar, rows: 3, columns: columns)
      let packed = reference.quantize(x, format)
      let values = bits(reference.dequantize(packed, format))
      let sliced = reference.slice(packed, slice)
      let clipped = bits(reference.clip(gradient, at: x, format))
      for table in KernelTable.available {
        for offset in [0, 1, 3, 7, 13] {
          let harness = CodecHarness(table: table, offset: offset, rows: 3, columns: columns)
          #expect(harness.quantize(x, format) == packed)
          #expect(bits(harness.dequantize(packed, format)) == values)
          #expect(bits(harness.roundTrip(x, format)) == values)
          #expect(harness.slice(packed, slice) == sliced)
          #expect(bits(harness.clip(gradient, at: x, format)) == clipped)
        }
      }
    }
  }

  /// Any codes and scale bytes, NaN and infinity codes among them, decode the same everywhere.
  @Test(arguments: formats) func foreignCodesDecodeAlike(format: MXFormat) {
    let random = CounterRandom(seed: 5, stream: format.name)
    let rows = 64, columns = 77, blocks = PackedTensor.blockCount(77)
    let packed = PackedMatrix(
      codes: (0..<(rows * columns)).map { UInt8(truncatingIfNeeded: random.word(UInt64($0))) },
      scales: (0..<(rows * blocks)).map { UInt8(truncatingIfNeeded: random.word(UInt64($0) | 1 << 40)) })
    let expected = CodecHarness(table: scalar, rows: rows, columns: columns).dequantize(packed, format)
    for table in KernelTable.available {
      let harness = CodecHarness(table: table, rows: rows, columns: columns)
      #expect(bits(harness.dequantize(packed, format)) == bits(expected), "\(table.name)")
    }
  }

  /// Slices in every table against the plan applied in Swift: any codes, sparse blocks, and scales up to NaN.
  @Test(arguments: MXFormat.all.filter(\.isAnchor)) func slicesFollowTheirPlan(anchor: MXFormat) throws {
    let rows = 50, columns = 117, blocks = PackedTensor.blockCount(117)
    let random = CounterRandom(seed: 6, stream: anchor.name)
    let codes = (0..<(rows * columns)).map { index -> UInt8 in
      let word = random.word(UInt64(index))
      let kind = random.word(UInt64(index / 32) | 1 << 40) % 4
      return kind == 0 ? UInt8(word >> 8 & 3) | UInt8(word & 0x80) : UInt8(truncatingIfNeeded: word)
    }
    let scales = (0..<(rows * blocks)).map { index -> UInt8 in
      let word = random.word(UInt64(index) | 1 << 41)
      return word % 5 == 0 ? UInt8(240 + word >> 8 % 16) : UInt8(truncatingIfNeeded: word >> 16)
    }
    let packed = PackedMatrix(codes: codes, scales: scales)
    for target in SlicePlan.formatsCut(from: anchor) {
      let plan = try SlicePlan(from: anchor, to: target)
      var expected = PackedMatrix(codes: [], scales: [])
      for row in 0..<rows {
        let sliced = ScalarCodec.slice(
          .init(
            codes: Array(codes[(row * columns)..<(row * columns + columns)]),
            scales: Array(scales[(row * blocks)..<(row * blocks + blocks)])), plan: plan)
        expected.codes += sliced.codes
        expected.scales += sliced.scales
      }
      for table in KernelTable.available {
        let harness = CodecHarness(table: table, rows: rows, columns: columns)
        #expect(harness.slice(packed, CompiledSlice(plan)) == expected, "\(table.name) \(target)")
      }
    }
  }

  /// A table of 256 arbitrary bytes comes through the vector lookup as it is.
  @Test func lookupTakesAnyTable() {
    let random = CounterRandom(seed: 8)
    var slice = ck_slice()
    unsafe withUnsafeMutableBytes(of: &slice.table) { table in
      for index in 0..<256 { unsafe table[index] = UInt8(truncatingIfNeeded: random.word(UInt64(index))) | 1 }
    }
    slice.zero_mask = 0xFF
    let codes = (0..<1024).map { UInt8(truncatingIfNeeded: $0 &* 37 + $0 / 256) }
    let scales = [UInt8](repeating: 100, count: 32)
    let expected = codes.map { code in unsafe withUnsafeBytes(of: slice.table) { unsafe $0[Int(code)] } }
    for table in KernelTable.available {
      var sliced = [UInt8](repeating: 0, count: 1024), slicedScales = [UInt8](repeating: 0, count: 32)
      unsafe table.codec.slice(&slice, 1, 1024, codes, scales, &sliced, &slicedScales)
      #expect(sliced == expected && slicedScales == scales, "\(table.name)")
    }
  }

  @Test(arguments: KernelTable.available) func zeroAndNaNBlocks(table: KernelTable) throws {
    let harness = CodecHarness(table: table, rows: 1, columns: 96)
    var x = [Float](repeating: -0.0, count: 32) + [Float](repeating: 1, count: 64)
    x[40] = .nan
    for format in MXFormat.all {
      let packed = harness.quantize(x, format)
      #expect(packed.scales[0] == 0 && packed.scales[1] == 255 && packed.scales[2] != 255)
      #expect(packed.codes[..<64].allSatisfy { $0 == 0 } && packed.codes[64...].allSatisfy { $0 != 0 })
      let values = harness.dequantize(packed, format)
      #expect(values[..<32].allSatisfy { $0.bitPattern == 0 })
      #expect(values[32..<64].allSatisfy(\.isNaN) && values[64...].allSatisfy { $0 == 1 })
      for target in SlicePlan.formatsCut(from: format) {
        let sliced = harness.slice(packed, CompiledSlice(try SlicePlan(from: format, to: target)))
        #expect(sliced.scales[0] == 0 && sliced.scales[1] == 255)
        #expect(sliced.codes[..<64].allSatisfy { $0 == 0 })
      }
    }
  }

  /// Rows of 50 are cut into blocks of 32 and 18 each; a flat split would give 32, 32, 32, 4.
  @Test(arguments: KernelTable.available) func blocksDoNotCrossRows(table: KernelTable) {
    let magnitudes: [Float] = [1, 2, 4, 8]
    let x = [(0, 32), (1, 18), (2, 32), (3, 18)].flatMap { Array(repeating: magnitudes[$0.0], count: $0.1) }
    for format in MXFormat.all {
      let packed = CodecHarness(table: table, rows: 2, columns: 50).quantize(x, format)
      #expect(packed.scales.map(Int.init) == (0...3).map { 127 + $0 - format.element.emax })
      #expect(Set(packed.codes).count == 1)
    }
  }

  @Test(arguments: KernelTable.available, MXFormat.all) func idempotent(table: KernelTable, format: MXFormat) {
    let harness = CodecHarness(table: table, rows: 64, columns: 70)
    let packed = harness.quantize(hostileValues(64 * 70, stream: 9), format)
    #expect(harness.quantize(harness.dequantize(packed, format), format) == packed)
  }

  /// The clip is at the largest value of the block: beyond 1.75 * 2^E in E4M3, nowhere under rceil.
  @Test(arguments: KernelTable.available) func clipsBeyondTheLargestValue(table: KernelTable) {
    let harness = CodecHarness(table: table, rows: 1, columns: 5)
    let x: [Float] = [1.75, 1.76, -1.99, 0.1, -1.75], gradient: [Float] = [1, 2, 3, 4, 5]
    #expect(harness.clip(gradient, at: x, .mxfp8_e4m3) == [1, 0, 0, 4, 5])
    #expect(harness.clip(gradient, at: x, .mxfp8_e4m3, .rceil) == gradient)
    #expect(harness.clip(gradient, at: x, .mxint8) == [1, 2, 0, 4, 5])
    #expect(harness.clip(gradient, at: [1.75, .nan, 9, 1, 1], .mxfp8_e4m3) == gradient)
  }

  @Test func slicesInPlace() throws {
    let plan = try SlicePlan(from: .mxfp8_e4m3, to: .mxfp6_e2m3), slice = CompiledSlice(plan)
    let reference = CodecHarness(table: scalar, rows: 3, columns: 150)
    let packed = reference.quantize(hostileValues(450, stream: 21), .mxfp8_e4m3)
    let expected = reference.slice(packed, slice)
    for table in KernelTable.available {
      var inPlace = packed
      unsafe inPlace.codes.withUnsafeMutableBufferPointer { codes in
        unsafe inPlace.scales.withUnsafeMutableBufferPointer { scales in
          unsafe BlockCodec.sliceRows(
            rows: 3, columns: 150, codes: codes.baseAddress!, scales: scales.baseAddress!,
            toCodes: codes.baseAddress!, toScales: scales.baseAddress!, slice: slice, table: table)
        }
      }
      #expect(inPlace == expected, "\(table.name)")
    }
  }

  @Test func otherShapesAndFormatsAreRefused() async {
    await #expect(processExitsWith: .failure) {
      let arena = Arena("refused")
      let x = Tensor(rows: 2, columns: 64, in: arena)
      var out = PackedTensor(.mxint8, rows: 2, columns: 32, in: arena)
      BlockCodec.quantize(&out, from: x)
    }
    await #expect(processExitsWith: .failure) {
      let arena = Arena("refused")
      let anchor = PackedTensor(.mxint8, rows: 2, columns: 32, in: arena)
      var out = PackedTensor(.mxint4, rows: 2, columns: 32, in: arena)
      BlockCodec.slice(&out, from: anchor, plan: try SlicePlan(from: .mxint8, to: .mxint5))
    }
  }

  /// The tensor face, and the round trip in place.
  @Test func tensors() throws {
    let arena = Arena("codec")
    var x = Tensor(rows: 7, columns: 45, in: arena), y = Tensor(rows: 7, columns: 45, in: arena)
    let values = hostileValues(7 * 45, stream: 12).map { $0.isFinite ? $0 : 1 }
    var anchor = PackedTensor(.mxint8, rows: 7, columns: 45, in: arena)
    var low = PackedTensor(.mxint4, rows: 7, columns: 45, in: arena)
    func fill(_ tensor: inout Tensor) {
      var span = tensor.mutableSpan
      for index in values.indices { span[index] = values[index] }
    }
    func read(_ tensor: borrowing Tensor) -> [Float] {
      let span = tensor.span
      return span.indices.map { span[$0] }
    }
    fill(&x)
    let reference = CodecHarness(table: scalar, rows: 7, columns: 45)
    let expected = reference.quantize(values, .mxint8)

    BlockCodec.quantize(&anchor, from: x)
    BlockCodec.dequantize(&y, from: anchor)
    #expect(bits(read(y)) == bits(reference.dequantize(expected, .mxint8)))

    let plan = try SlicePlan(from: .mxint8, to: .mxint4)
    BlockCodec.slice(&low, from: anchor, plan: plan)
    let sliced = reference.slice(expected, CompiledSlice(plan))
    #expect((0..<(7 * 45)).allSatisfy { low.codes[$0] == sliced.codes[$0] })
    #expect((0..<14).allSatisfy { low.scales[$0] == sliced.scales[$0] })

    BlockCodec.roundTrip(&y, of: x, format: .mxfp4, rule: .even)
    let rounded = reference.roundTrip(values, .mxfp4, .even)
    #expect(bits(read(y)) == bits(rounded))
    BlockCodec.roundTrip(inPlace: &x, format: .mxfp4, rule: .even)
    #expect(bits(read(x)) == bits(rounded))

    fill(&x)
    fill(&y)
    BlockCodec.clipGradient(&y, at: x, format: .mxfp8_e4m3)
    #expect(bits(read(y)) == bits(reference.clip(values, at: values, .mxfp8_e4m3)))
  }
}
