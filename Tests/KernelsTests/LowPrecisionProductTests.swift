import Formats
import Kernels
import Tensors
import Testing

/// Operands and their products as the layers use them.
@Suite struct LowPrecisionProductTests {
  typealias Packed = Kernels.Operand

  /// How one operand is quantized; both sides of a product alike.
  static let quantizers: [(name: String, elements: Packed.Elements, quantizer: Quantizer)] = [
    ("int8", .int8, Quantizer(.vector)), ("one scale", .int8, Quantizer(.tensor(largest: 2))),
    ("mxint8", .blocks, Quantizer(.blocks(.mxint8))),
    ("mxfp4, stochastic", .blocks,
     Quantizer(
       .blocks(.mxfp4), rounding: .stochastic(CounterRandom(seed: 3, stream: "draws"), first: 77, shrink: 0.75))),
    ("bf16", .bf16, Quantizer(.bf16)),
  ]

  static func tensor(
    _ rows: Int, _ columns: Int, _ stream: String, in arena: Arena, factor: (_ row: Int) -> Float = { _ in 1 }
  ) -> Tensor {
    let values = Numbers(stream).floats(rows * columns, 2)
    var tensor = Tensor(rows: rows, columns: columns, in: arena)
    var span = tensor.mutableSpan
    for i in 0..<values.count { span[i] = values[i] * factor(i / columns) }
    return tensor
  }

  static func values(_ tensor: borrowing Tensor) -> [Float] { (0..<tensor.count).map { tensor.span[$0] } }

  /// x (m, depth) · w (n, depth)ᵀ.
  static func product(
    _ x: borrowing Tensor, _ w: borrowing Tensor, _ quantizer: Quantizer, rotation: BlockRotation? = nil,
    on table: KernelTable = .current, left: Packed? = nil, right: Packed? = nil
  ) -> [Float] {
    let arena = Arena("product"), block = rotation?.block ?? 32
    func capacity(_ side: Packed.Side, _ vectors: Int) -> Packed.Capacity {
      .init(side, quantizer.elements, vectors: vectors, depth: x.columns, multiple: block)
    }
    let l = left ?? Packed(.left, capacity(.left, x.rows), in: arena)
    let r = right ?? Packed(.right, capacity(.right, w.rows), in: arena)
    l.pack(x, contracting: .columns, by: quantizer, rotation: rotation, on: table)
    r.pack(w, contracting: .columns, by: quantizer, rotation: rotation, on: table)
    var y = Tensor(rows: x.rows, columns: w.rows, in: arena)
    LowPrecisionProduct.multiply(&y, left: l, right: r, on: table)
    return values(y)
  }

  static func rotation(_ length: Int, in arena: Arena) -> BlockRotation {
    let rotation = BlockRotation(block: 32, length: length, in: arena)
    for i in 0..<rotation.signs.count { rotation.signs[i] = i % 3 == 1 ? 0x8000_0000 : 0 }
    return rotation
  }

  @Test(arguments: quantizers.map(\.name)) func everyTableGivesTheSameBits(_ name: String) {
    let (_, elements, quantizer) = Self.quantizers.first { $0.name == name }!
    for (m, n, depth) in [(37, 50, 100), (5, 130, 64), (1, 1, 31)] {
      let arena = Arena("test")
      let x = Self.tensor(m, depth, "x", in: arena), w = Self.tensor(n, depth, "w", in: arena)
      let rotations: [BlockRotation?] = elements == .bf16 ? [nil] : [nil, Self.rotation(depth, in: arena)]
      for rotation in rotations {
        let expected = Self.product(x, w, quantizer, rotation: rotation, on: KernelTable.available.last!)
        #expect(expected.contains { $0 != 0 } && expected.allSatisfy { $0.isFinite })
        for table in KernelTable.available {
          let found = Self.product(x, w, quantizer, rotation: rotation, on: table)
          #expect(
            found.map(\.bitPattern) == expected.map(\.bitPattern),
            "\(name), \(table.name), \(m) x \(n) x \(depth), rotated: \(rotation != nil)")
        }
      }
    }
  }

  /// 2^-100 and 2^100 beside each other: what fp32 can hold comes out as in double, the rest as zero and infinity.
  @Test func extremeScalesTakeTheWidePath() {
    let m = 6, n = 20, depth = 96, arena = Arena("test")
    let factor: (Int) -> Float = { [0x1p-100, 0x1p100, 1][$0 % 3] }
    var x = Self.tensor(m, depth, "wide x", in: arena, factor: factor)
    var w = Self.tensor(n, depth, "wide w", in: arena, factor: factor)
    BlockCodec.roundTrip(inPlace: &x, format: .mxint8)
    BlockCodec.roundTrip(inPlace: &w, format: .mxint8)
    let (X, W) = (Self.values(x), Self.values(w))
    var exact: [Double] = []
    for i in 0..<m {
      for j in 0..<n {
        exact.append((0..<depth).reduce(0) { $0 + Double(X[i * depth + $1]) * Double(W[j * depth + $1]) })
      }
    }
    #expect(exact.contains { abs($0) < 0x1p-150 && $0 != 0 } && exact.contains { abs($0) > 0x1p130 })
    for table in KernelTable.available {
      let found = Self.product(x, w, Quantizer(.blocks(.mxint8)), on: table)
      let wrong = exact.indices.filter { i in
        let want = Float(exact[i])
        return want.isInfinite || want.isSubnormal || want == 0
          ? abs(found[i]) != abs(want) : abs(Double(found[i]) - exact[i]) > 0x1p-23 * abs(exact[i])
      }
      let first = wrong.first.map { "\(found[$0]) for \(exact[$0])" } ?? ""
      #expect(wrong.isEmpty, "\(table.name): \(wrong.count) of \(exact.count), \(first)")
    }
  }

  /// Gradients of masked tokens are rows of zeros: they must not send a product to the slow path, nor spoil it.
  @Test func rowsOfZerosAreOrdinary() {
    let arena = Arena("test"), depth = 64
    let x = Self.tensor(40, depth, "zero", in: arena) { $0 % 5 == 4 ? 0 : 1 }
    let operand = Packed(.left, .init(.left, .blocks, vectors: 40, depth: depth), in: arena)
    operand.pack(x, contracting: .columns, by: Quantizer(.blocks(.mxint8)))
    let exponents = operand.exponents ?? 99...99
    #expect(exponents.lowerBound > -20 && exponents.upperBound < 20, "\(exponents)")
    let w = Self.tensor(17, depth, "not zero", in: arena)
    let y = Self.product(x, w, Quantizer(.blocks(.mxint8)))
    #expect((0..<40).allSatisfy { row in y[row * 17..<row * 17 + 17].allSatisfy { ($0 == 0) == (row % 5 == 4) } })
  }

  /// Memory is laid out for the largest use; what that left behind must not show in a smaller one.
  @Test(arguments: quantizers.map(\.name)) func smallerAfterLarger(_ name: String) {
    let (_, _, quantizer) = Self.quantizers.first { $0.name == name }!, arena = Arena("test")
    let (m, n, depth) = (100, 70, 200)
    var left = Packed.Capacity(), right = Packed.Capacity()
    for elements in [Packed.Elements.int8, .blocks, .bf16] {
      left.include(.init(.left, elements, vectors: m, depth: depth))
      right.include(.init(.right, elements, vectors: n, depth: depth))
    }
    let l = Packed(.left, left, in: arena), r = Packed(.right, right, in: arena)
    let bigX = Self.tensor(m, depth, "big x", in: arena), bigW = Self.tensor(n, depth, "big w", in: arena)
    for (rows, columns, k) in [(33, 17, 70), (1, 1, 1), (16, 48, 64)] {
      for other in Self.quantizers { _ = Self.product(bigX, bigW, other.quantizer, left: l, right: r) }
      let x = Self.tensor(rows, k, "small x", in: arena), w = Self.tensor(columns, k, "small w", in: arena)
      let reused = Self.product(x, w, quantizer, left: l, right: r), fresh = Self.product(x, w, quantizer)
      #expect(reused.map(\.bitPattern) == fresh.map(\.bitPattern), "\(name), \(rows) x \(columns) x \(k)")
    }
  }

  /// Vectors along rows and along columns of the same numbers are the same operand.
  @Test(arguments: ["int8", "mxint8", "bf16"]) func rowsAndColumnsAgree(_ name: String) {
    let (_, elements, quantizer) = Self.quantizers.first { $0.name == name }!, arena = Arena("test")
    let (m, n, depth) = (45, 30, 90)
    let x = Self.tensor(m, depth, "x", in: arena), w = Self.tensor(n, depth, "w", in: arena)
    var xT = Tensor(rows: depth, columns: m, in: arena), wT = Tensor(rows: depth, columns: n, in: arena)
    transpose(x, &xT)
    transpose(w, &wT)
    let l = Packed(.left, .init(.left, elements, vectors: m, depth: depth), in: arena)
    let r = Packed(.right, .init(.right, elements, vectors: n, depth: depth), in: arena)
    l.pack(xT, contracting: .rows, by: quantizer)
    r.pack(wT, contracting: .rows, by: quantizer)
    var y = Tensor(rows: m, columns: n, in: arena)
    LowPrecisionProduct.multiply(&y, left: l, right: r)
    #expect(Self.values(y).map(\.bitPattern) == Self.product(x, w, quantizer).map(\.bitPattern))
  }

  private func transpose(_ x: borrowing Tensor, _ y: inout Tensor) {
    let (rows, columns) = (x.rows, x.columns)
    let source = x.span
    var target = y.mutableSpan
    for i in 0..<rows { for j in 0..<columns { target[j * rows + i] = source[i * columns + j] } }
  }
}
