import CKernels
import Formats
import Kernels
import Tensors
import Testing

/// Rounding with error feedback: every table this processor runs gives the bits of the scalar one.
@Suite struct SolverKernelTests {
  static let searches: [ScaleSearch] = [
    .rule(.floor), .rule(.rceil), .rule(.even), .betterOfTwo, .search(norm: 2, from: -3, through: 1),
    .search(norm: 2.4, from: -3, through: 1),
  ]

  struct Result: Equatable {
    var errors: [UInt32]
    var codes: [UInt8]
    var scales: [UInt8]
  }

  /// Weights of a few binades, and now and then one that exceeds its scale by far.
  static func values(_ count: Int, _ stream: UInt64, spread: Double = 6) -> [Float] {
    let random = CounterRandom(seed: 4, stream: stream)
    return (0..<count).map { i in
      let sign = random.word(UInt64(i)) & 1 == 0 ? 1.0 : -1.0
      let size = sign * pow2(-spread * random.uniform(UInt64(i) + 1 << 32))
      return Float(random.word(UInt64(i) + 1 << 33) % 60 == 0 ? 300 * size : size)
    }
  }

  private static func pow2(_ x: Double) -> Double {
    let whole = x.rounded(.down)
    return Double(sign: .plus, exponent: Int(whole), significand: 1 + (x - whole))
  }

  private func sweep(
    _ table: KernelTable, _ format: MXFormat, _ search: ScaleSearch, frozen: Bool, blocks: Bool, _ columns: Int,
    _ rows: Int
  ) -> Result {
    var x = Self.values(columns * rows, 1), v = zip(x, Self.values(columns * rows, 2)).map { $0 + 0.1 * $1 }
    let factor = Self.values(128 * 128, 3).map { 0.3 * $0 }
    var codes = [UInt8](repeating: 0xA5, count: columns * rows)
    // Frozen scales that fit some weights and not others.
    var scales = (0..<(columns + 31) / 32 * rows).map { UInt8(120 + $0 * 7 % 9) }
    let scaleRows = (0..<columns).map { Int32($0 / 32) }
    unsafe x.withUnsafeMutableBufferPointer { x in
      unsafe v.withUnsafeMutableBufferPointer { v in
        unsafe codes.withUnsafeMutableBufferPointer { codes in
          unsafe scales.withUnsafeMutableBufferPointer { scales in
            unsafe factor.withUnsafeBufferPointer { factor in
              unsafe scaleRows.withUnsafeBufferPointer { scaleRows in
                var sweep = unsafe ck_sweep(
                  element: format.element.ckElement, search: search.ckSearch, frozen: frozen, blocks: blocks,
                  columns: Int64(columns), rows: Int64(rows), factor: factor.baseAddress!, x: x.baseAddress!,
                  v: v.baseAddress!, scale_rows: scaleRows.baseAddress!, scales: scales.baseAddress!,
                  codes: codes.baseAddress!)
                unsafe table.solver.sweep(&sweep)
              }
            }
          }
        }
      }
    }
    return Result(errors: x.map(\.bitPattern), codes: codes, scales: scales)
  }

  @Test func skippedTables() {
    let names = KernelTable.available.map(\.name)
    let skipped = ["avx512", "avx2"].filter { !names.contains($0) }
    if !skipped.isEmpty { print("solver: this processor cannot run \(skipped.joined(separator: ", "))") }
  }

  @Test(arguments: MXFormat.all) func sweepsAreTheReferences(format: MXFormat) {
    for search in Self.searches {
      for (columns, rows) in [(128, 80), (50, 48), (17, 16), (32, 128)] {
        for (frozen, blocks) in [(false, false), (true, false), (false, true), (true, true)] {
          let reference = sweep(
            KernelTable.available.last!, format, search, frozen: frozen, blocks: blocks, columns, rows)
          for table in KernelTable.available.dropLast() {
            let result = sweep(table, format, search, frozen: frozen, blocks: blocks, columns, rows)
            #expect(result.codes == reference.codes && result.scales == reference.scales
                && result.errors == reference.errors,
              "\(table.name), \(format), \(search), frozen \(frozen), blocks \(blocks), \(columns) x \(rows)")
          }
        }
      }
    }
  }

  /// Whole tiles: loaded, rounded, stored, with and without targets.
  @Test(arguments: MXFormat.all) func tilesAreTheReferences(format: MXFormat) throws {
    for (K, N) in [(300, 17), (128, 128), (33, 1), (7, 100)] {
      let arena = Arena("test"), weight = Self.values(N * K, 5, spread: 3)
      var moments = HostBuffer<Double>(count: K * K, in: arena)
      for i in 0..<K { for j in 0..<K { moments[i * K + j] = i == j ? 1.1 : 1 / Double(1 + abs(i - j)) } }
      let order = (0..<K).map { Int32((K - 1 - $0)) }
      for isOrdered in [false, true] {
        let made = FeedbackFactor(
          moments, diagonal: (0..<K).map { moments[$0 * K + $0] }, order: isOrdered ? order : nil, in: arena)
        let factor = try #require(made)
        var tiles = [
          TileRounding(
            format, search: .rule(.floor), method: .columns, frozen: true, order: isOrdered ? order : nil,
            deadColumns: [3], factor: factor, targets: nil)
        ]
        if !isOrdered {
          tiles.append(TileRounding(
            format, search: .betterOfTwo, method: .nearest, frozen: true, order: nil, deadColumns: [], factor: nil,
            targets: nil))
        }
        if format.isAnchor {
          let targets = try SlicePlan.formatsCut(from: format).map {
            (try SlicePlan(from: format, to: $0), Float($0.bits))
          }
          tiles.append(TileRounding(
            format, search: .rule(.floor), method: .columns, frozen: true, order: isOrdered ? order : nil,
            deadColumns: [], factor: factor, targets: CompiledTargets(anchor: format, targets)))
        }
        for tile in tiles {
          let results = KernelTable.available.map { run(tile, weight, N, K, $0, arena) }
          for (table, result) in zip(KernelTable.available, results) {
            #expect(result == results.last!, "\(table.name), \(format), \(N) x \(K), \(tile.method), \(isOrdered)")
          }
        }
      }
    }
  }

  private func run(
    _ tile: TileRounding, _ weight: [Float], _ N: Int, _ K: Int, _ table: KernelTable, _ arena: Arena
  ) -> PackedMatrix {
    var packed = PackedTensor(tile.format, rows: N, columns: K, in: arena)
    var scratch = tile.makeScratch(rows: N, columns: K, in: arena)
    let isFinite = unsafe weight.withUnsafeBufferPointer { weight in
      unsafe tile.run(
        weight.baseAddress!, rows: N, columns: K, codes: packed.codes.unsafeMutableAddress(),
        scales: packed.scales.unsafeMutableAddress(), scratch: &scratch, table: table)
    }
    #expect(isFinite)
    return PackedMatrix(
      codes: (0..<packed.codes.count).map { packed.codes[$0] },
      scales: (0..<packed.scales.count).map { packed.scales[$0] })
  }

  /// L Lᵀ = A for sizes around the blocks, and no factor of what has none.
  @Test(arguments: [1, 2, 31, 127, 128, 129, 300, 520]) func factors(K: Int) throws {
    let arena = Arena("test")
    var moments = HostBuffer<Double>(count: K * K, in: arena)
    for i in 0..<K { for j in 0..<K { moments[i * K + j] = (i == j ? 2 : 1) / Double(1 + abs(i - j)) } }
    let made = FeedbackFactor(
      moments, diagonal: (0..<K).map { moments[$0 * K + $0] }, order: nil, in: arena)
    let factor = try #require(made)
    // H = S D Sᵀ with D diagonal: D follows from the last column on.
    func s(_ i: Int, _ j: Int) -> Double {
      if i == j { return 1 }
      let panel = unsafe factor.panel(j / 128), start = j / 128 * 128
      return Double(unsafe i < start ? panel[i * 128 + j - start] : panel[start * 128 + (j - start) * 128 + i - start])
    }
    var d = [Double](repeating: 0, count: K)
    for i in (0..<K).reversed() {
      d[i] = moments[i * K + i] - (i + 1..<K).reduce(0) { $0 + s(i, $1) * s(i, $1) * d[$1] }
    }
    for (i, j) in [(0, K - 1), (0, 0), (K / 2, K - 1), (K / 3, K / 2)] {
      let product = (j..<K).reduce(0) { $0 + s(i, $1) * s(j, $1) * d[$1] }
      #expect(abs(product - moments[i * K + j]) < 1e-5, "H[\(i), \(j)]")
    }
    let none = FeedbackFactor(moments, diagonal: (0..<K).map { _ in -1 }, order: nil, in: arena)
    #expect(none == nil)
  }
}
