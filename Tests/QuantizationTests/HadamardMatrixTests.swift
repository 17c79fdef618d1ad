import Quantization
import Testing

@Suite struct HadamardMatrixTests {
  /// H Hᵀ = n I in integers: rows as bits, so that two rows agree in exactly half their columns.
  @Test func everyOrderOfferedIsExact() {
    var missing: [Int] = []
    for order in 1...HadamardMatrix.largestOrder {
      guard let matrix = HadamardMatrix(order: order) else {
        if order % 4 == 0 { missing.append(order) }
        continue
      }
      #expect(matrix.entries.count == order * order && matrix.entries.allSatisfy { $0 == 1 || $0 == -1 })
      let words = (order + 63) / 64
      var rows = [UInt64](repeating: 0, count: order * words)
      for i in 0..<order {
        for j in 0..<order where matrix[i, j] < 0 { rows[i * words + j / 64] |= 1 << UInt64(j % 64) }
      }
      var exact = true
      for i in 0..<order {
        for j in 0..<i {
          var differing = 0
          for word in 0..<words { differing += (rows[i * words + word] ^ rows[j * words + word]).nonzeroBitCount }
          exact = exact && 2 * differing == order
        }
      }
      #expect(exact, "order \(order)")
    }
    print("Hadamard orders without a construction: \(missing)")
    #expect(missing.first ?? 0 > 172, "every multiple of 4 up to 172: \(missing)")
  }

  @Test func constructionsOfThePage() throws {
    for order in [12, 20, 24, 40, 44, 104, 108, 140, 172] {
      let matrix = try #require(HadamardMatrix(order: order))
      #expect(!matrix.isSymmetric, "order \(order)")
    }
    for order in [1, 2, 4, 64, 512, 28, 36, 76, 124, 148] {
      let matrix = try #require(HadamardMatrix(order: order))
      #expect(matrix.isSymmetric, "order \(order)")
    }
    for order in [0, -4, 3, 6, 10, 1024] { #expect(HadamardMatrix(order: order) == nil) }
    // 40 = H_2 ⊗ H_20
    let (whole, half) = (try #require(HadamardMatrix(order: 40)), try #require(HadamardMatrix(order: 20)))
    for i in 0..<40 {
      for j in 0..<40 { #expect(whole[i, j] == half[i % 20, j % 20] * (i >= 20 && j >= 20 ? -1 : 1)) }
    }
  }

  /// The sizes of models, by the table of the low-precision reference, section 4.
  @Test(arguments: [
    (576, 36, 64), (768, 12, 256), (1536, 12, 512), (3072, 12, 1024), (896, 28, 128), (3584, 28, 512),
    (14336, 28, 2048), (28672, 28, 4096),
    (2560, 20, 512), (5120, 20, 1024), (4864, 76, 256), (5632, 44, 512), (8960, 140, 256),
    (11008, 172, 256), (13824, 108, 512), (27648, 108, 1024), (18944, 148, 512), (4096, 1, 4096), (64, 1, 64),
  ])
  func sizesOfModels(_ size: Int, _ order: Int, _ twos: Int) throws {
    let factors = try #require(HadamardSize(size))
    #expect(factors.order == order && factors.order * factors.power == size && factors.matrix.order == order)
    #expect(HadamardSize.block(dividing: size, atMost: 1 << 20) == twos)
    #expect(HadamardSize.block(dividing: size) == min(64, twos))
    #expect(HadamardSize.block(dividing: size, atMost: 128) == min(128, twos))
  }

  @Test func sizesWithoutARotation() {
    for size in [0, -8, 3, 6, 13, 1535, 4 * 47] { #expect(HadamardSize(size) == nil, "\(size)") }
    #expect(HadamardSize.block(dividing: 24) == 0)
    #expect(HadamardSize.block(dividing: 24, atLeast: 1) == 8)
    #expect(HadamardSize.block(dividing: 48) == 16)
    #expect(HadamardSize.block(dividing: 1024, atMost: 100) == 64)
  }

  @Test func signsDependOnSeedStreamAndPositionAlone() {
    let signs = RotationSigns(seed: 5, layer: "model.layers.0.mlp.down_proj.weight", axis: .input)
    let masks = signs.masks(count: 4864)
    #expect(masks.allSatisfy { $0 == 0 || $0 == 0x8000_0000 })
    #expect(Array(masks.prefix(131)) == signs.masks(count: 131))
    let flipped = masks.count { $0 != 0 }
    #expect(abs(flipped - 2432) < 140, "\(flipped) of 4864: four standard deviations are 139")

    let others = [
      RotationSigns(seed: 6, layer: "model.layers.0.mlp.down_proj.weight", axis: .input).masks(count: 4864),
      RotationSigns(seed: 5, layer: "model.layers.1.mlp.down_proj.weight", axis: .input).masks(count: 4864),
      RotationSigns(seed: 5, layer: "model.layers.0.mlp.down_proj.weight", axis: .tokens).masks(count: 4864),
      signs.masks(count: 4864, redraw: 0), signs.masks(count: 4864, redraw: 1),
    ]
    for (index, other) in others.enumerated() {
      let differing = zip(masks, other).count { $0 != $1 }
      #expect(abs(differing - 2432) < 200, "variant \(index) differs in \(differing)")
    }
    #expect(others[3] != others[4])
    #expect(signs.masks(count: 4864, redraw: 1) == others[4])
  }

  /// A checkpoint stores the seed: these signs are a format.
  @Test func signsAreStable() {
    let masks = RotationSigns(seed: 1, stream: "stable").masks(count: 64)
    let word = masks.enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element >> 31) << UInt64($1.offset) }
    #expect(word == 0x8ce0_e26f_d610_c93b, "0x\(String(word, radix: 16))")
  }
}
