import CKernels
import Formats
import Kernels
import Tensors
import Testing

private let scalar = KernelTable.available.last!

private func expectBits(
  _ got: [Float], _ want: [Float], _ context: @autoclosure () -> String,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  expectSameBits([got], [want], context(), sourceLocation)
}

/// Products of 8-bit codes.
@Suite(.keepsOperands) struct MatmulTests {
  @Test func skippedTables() {
    let names = KernelTable.available.map(\.name)
    let skipped = ["avx512_bf16", "avx512_vnni", "avx512", "avx2"].filter { !names.contains($0) }
    if !skipped.isEmpty { print("products: this processor cannot run \(skipped.joined(separator: ", "))") }
    #expect(names.last == "scalar")
  }

  enum Data: CaseIterable { case largest, uniform, alternating }

  /// Against integers of 64 bits: what saturates or wraps on the way shows here. Vectors along rows and columns of
  /// either operand (NT, NN, TN).
  @Test(arguments: Data.allCases, [1, 63, 64, 65, 4096, 14336]) func exact(data: Data, depth: Int) {
    let m = depth > 4096 ? 3 : 9, n = depth > 4096 ? 5 : 19
    func operand(_ count: Int, _ name: String) -> IntegerVectors {
      switch data {
      case .largest: IntegerVectors(count, depth) { _, _ in 127 }
      case .uniform: .uniform(count, depth, name)
      case .alternating: IntegerVectors(count, depth) { vector, k in (vector + k) % 2 == 0 ? 127 : -127 }
      }
    }
    let left = operand(m, "left"), right = operand(n, "right")
    let expected = MatmulDefinition.product(left, right)
    for table in KernelTable.available {
      for (leftColumns, rightColumns) in [(false, false), (false, true), (true, true)] {
        let l = left.packed(CK_LEFT, on: table, byColumns: leftColumns)
        let r = right.packed(CK_RIGHT, on: table, byColumns: rightColumns)
        expectBits(table.product(l, r), expected, "\(table.name), columns \(leftColumns) \(rightColumns)")
      }
    }
  }

  /// The largest depth: 133,144 products of 127 by 127 fit into an int32, their offset does not and wraps.
  @Test func deepest() {
    let depth = 133_144
    let left = IntegerVectors(1, depth) { _, _ in 127 }
    let right = IntegerVectors(2, depth) { vector, _ in vector == 0 ? 127 : -127 }
    let sum = Float(127 * 127 * depth)
    for table in KernelTable.available { expectBits(table.product(left, right), [sum, -sum], table.name) }
  }

  /// How the two operands are scaled.
  enum Scaling: CaseIterable {
    case vectors, leftBlocks, rightBlocks, blocks, thirds

    func of(_ side: ck_side, _ count: Int, _ depth: Int) -> IntegerVectors.Scales {
      let isBlock = self == .blocks || self == .thirds || self == (side == CK_LEFT ? .leftBlocks : .rightBlocks)
      let stream = side == CK_LEFT ? "left scales" : "right scales"
      if isBlock { return .block(blockScales(count, depth, stream, times: self == .thirds ? 4 / 3 : 1)) }
      return .vector(Numbers(stream).floats(count, 3))
    }
  }

  /// Sizes around panels and tiles; the definition stated in Swift, every table equal to the bit, with and without what
  /// is in C already.
  @Test(arguments: Scaling.allCases) func sizes(scaling: Scaling) {
    for (index, m) in [1, 15, 16, 17, 47, 49].enumerated() {
      for n in [1, 15, 16, 17, 31, 47, 49, 65, 100] {
        let depth = [1, 32, 33, 96, 100, 160][(index + n) % 6]
        let left = IntegerVectors.uniform(m, depth, "l\(m)", scales: scaling.of(CK_LEFT, m, depth))
        let right = IntegerVectors.uniform(n, depth, "r\(n)", scales: scaling.of(CK_RIGHT, n, depth))
        let expected = MatmulDefinition.product(left, right)
        let start = Numbers("c").floats(m * n, 1000)
        for table in KernelTable.available {
          expectBits(table.product(left, right), expected, "\(table.name), \(m) x \(n) x \(depth)")
          expectBits(
            table.product(left, right, onto: start), zip(start, expected).map { $0 + $1 },
            "\(table.name), \(m) x \(n) x \(depth), accumulated")
        }
      }
    }
  }

  /// More rows than one chunk has, and more columns than one strip.
  @Test func manyRows() {
    let m = 1100, n = 50, depth = 32
    for scaling in [Scaling.vectors, .blocks] {
      let left = IntegerVectors.uniform(m, depth, "many", scales: scaling.of(CK_LEFT, m, depth))
      let right = IntegerVectors.uniform(n, depth, "few", scales: scaling.of(CK_RIGHT, n, depth))
      let expected = scalar.product(left, right)
      for table in KernelTable.available {
        expectBits(table.product(left, right), expected, "\(table.name), \(scaling)")
      }
    }
  }

  /// A block of nothing but the largest elements.
  @Test(arguments: [(127, 516_128), (60, 115_200), (12, 4_608), (7, 1_568)])
  func extremeBlocks(largest: Int, dot: Int) {
    for sign in [1, -1] {
      let left = IntegerVectors(2, 32, scales: .block([1, 1])) { _, _ in Int8(largest) }
      let ones = [Float](repeating: 1, count: 17)
      let right = IntegerVectors(17, 32, scales: .block(ones)) { _, _ in Int8(sign * largest) }
      let expected = [Float](repeating: Float(sign * dot), count: 34)
      for table in KernelTable.available { expectBits(table.product(left, right), expected, table.name) }
    }
  }

  /// Pairs of formats by their largest integers, random exponents.
  @Test(arguments: [(127, 127), (127, 12), (12, 12), (60, 60), (7, 127), (1, 127), (12, 60), (63, 127)])
  func formatPairs(left: Int, right: Int) {
    for depth in [32, 256, 1000, 4096] {
      let m = 5, n = 35
      let l = IntegerVectors.uniform(m, depth, "fl", largest: left, scales: .block(blockScales(m, depth, "fls")))
      let r = IntegerVectors.uniform(n, depth, "fr", largest: right, scales: .block(blockScales(n, depth, "frs")))
      let expected = scalar.product(l, r)
      if depth == 256 { expectBits(expected, MatmulDefinition.product(l, r), "scalar") }
      for table in KernelTable.available { expectBits(table.product(l, r), expected, "\(table.name), depth \(depth)") }
    }
  }

  /// One rounding a block is all there is.
  @Test func accuracy() {
    let m = 8, n = 24, depth = 4096
    let left = IntegerVectors.uniform(m, depth, "al", scales: .block(blockScales(m, depth, "als", spread: 2)))
    let right = IntegerVectors.uniform(n, depth, "ar", scales: .block(blockScales(n, depth, "ars", spread: 2)))
    let exact = MatmulDefinition.exactProduct(left, right), got = KernelTable.current.product(left, right)
    let error = zip(got, exact).reduce(0) { $0 + (Double($1.0) - $1.1) * (Double($1.0) - $1.1) }
    #expect((error / exact.reduce(0) { $0 + $1 * $1 }).squareRoot() <= 3e-7)
  }

  /// NaN reaches the outputs of its own vector, and no others.
  @Test(arguments: Scaling.allCases) func nanScales(scaling: Scaling) {
    let m = 20, n = 53, depth = 96
    var left = IntegerVectors.uniform(m, depth, "nl", scales: scaling.of(CK_LEFT, m, depth))
    var right = IntegerVectors.uniform(n, depth, "nr", scales: scaling.of(CK_RIGHT, n, depth))
    let clean = MatmulDefinition.product(left, right)
    func spoil(_ x: inout IntegerVectors, _ vector: Int) {
      switch x.scales {
      case .vector(var scales):
        scales[vector] = .nan
        x.scales = .vector(scales)
      case .block(var scales):
        scales[vector * 3 + 1] = .nan
        x.scales = .block(scales)
      }
    }
    spoil(&left, 7)
    spoil(&right, 50)
    let expected = clean.indices.map { $0 / n == 7 || $0 % n == 50 ? .nan : clean[$0] }
    for table in KernelTable.available { expectBits(table.product(left, right), expected, "\(table.name)") }
  }

  /// Scales that fp32 products cannot take.
  @Test func wide() {
    let m = 3, n = 17, depth = 64
    let tiny = blockScales(m, depth, "tiny").map { $0 * 0x1p-120 }
    let small = blockScales(n, depth, "small").map { $0 * 0x1p-20 }
    let large = blockScales(n, depth, "large").map { $0 * 0x1p110 }
    for scales in [small, large] {
      let left = IntegerVectors.uniform(m, depth, "wl", scales: .block(tiny))
      let right = IntegerVectors.uniform(n, depth, "wr", scales: .block(scales))
      let expected = MatmulDefinition.exactProduct(left, right).map { Float($0) }
      for table in KernelTable.available {
        let l = left.packed(CK_LEFT, on: table), r = right.packed(CK_RIGHT, on: table)
        expectBits(table.product(l, r, wide: true), expected, table.name)
      }
    }
  }
}

/// Products of bf16.
@Suite(.keepsOperands) struct HalfMatmulTests {
  /// The values of a format's codes, times a power of two for each block of 32.
  private func values(_ format: MXFormat, _ count: Int, _ depth: Int, _ stream: String) -> [Float] {
    let codes = format.element.finiteCodes, random = CounterRandom(seed: 8, stream: stream)
    let scales = blockScales(count, depth, stream, spread: 5), blocks = (depth + 31) / 32
    return (0..<count * depth).map { index in
      let code = codes[Int(random.integer(UInt64(index), below: UInt64(codes.count)))]
      return format.element.decode(code) * scales[index / depth * blocks + index % depth / 32]
    }
  }

  @Test(arguments: [MXFormat.mxfp8_e4m3, .mxfp8_e5m2, .mxfp6_e3m2, .mxint8]) func oddThenEven(format: MXFormat) {
    for (m, n, depth) in [(1, 1, 1), (15, 17, 31), (16, 49, 32), (17, 47, 65), (47, 16, 100), (2, 33, 1000)] {
      let left = values(format, m, depth, "hl"), right = values(format, n, depth, "hr")
      let expected = MatmulDefinition.halfProduct(left, right, depth: depth)
      let start = Numbers("hc").floats(m * n, 10)
      let l = HalfPanels(m, depth, left), r = HalfPanels(n, depth, right)
      for table in KernelTable.available {
        expectBits(table.product(l, r), expected, "\(table.name), \(m) x \(n) x \(depth)")
        expectBits(
          table.product(l, r, onto: start), zip(start, expected).map { $0 + $1 }, "\(table.name), accumulated")
      }
    }
  }

  @Test func accuracy() {
    let m = 8, n = 24, depth = 4096
    let left = values(.mxfp8_e4m3, m, depth, "el"), right = values(.mxfp8_e4m3, n, depth, "er")
    let got = KernelTable.current.product(HalfPanels(m, depth, left), HalfPanels(n, depth, right))
    var error = 0.0, norm = 0.0
    for i in 0..<m {
      for j in 0..<n {
        let exact = (0..<depth).reduce(0.0) { $0 + Double(left[i * depth + $1]) * Double(right[j * depth + $1]) }
        error += (Double(got[i * n + j]) - exact) * (Double(got[i * n + j]) - exact)
        norm += exact * exact
      }
    }
    #expect((error / norm).squareRoot() <= 1e-6)
  }

  /// What the instruction does with subnormal sums is part of the definition: they are zero at once.
  @Test func subnormalSums() {
    let left: [Float] = [0x1p-70, 0x1p-70, 0x1p-60, -0x1p-70], right: [Float] = [0x1p-60, 0x1p-60, 0x1p-66, 0x1p-60]
    let l = HalfPanels(1, 4, left), r = HalfPanels(1, 4, right)
    for table in KernelTable.available where ["scalar", "avx512_bf16"].contains(table.name) {
      expectBits(table.product(l, r), [0x1p-126], table.name)
    }
  }
}
