import CKernels
import Formats
import Kernels
import Tensors
import Testing

private let scalar = PanelHarness.scalar
private let vectorCounts = [1, 15, 16, 17, 33]
private let depths = [1, 31, 32, 33, 64, 100, 288, 1024]
private let blocks = [0, 16, 32, 64, 128]

/// Normal numbers, with the exponents of whole stretches moved about; now and then zeros.
private func lively(_ stream: UInt64) -> (Int, Int) -> Float {
  let normals = Normals(stream)
  return { vector, d in
    let exponent = (vector * 7 + d / 32 * 5) % 60 - 30
    let power = Float(sign: .plus, exponent: exponent, significand: 1)
    return (vector + d) % 11 == 0 ? 0 : normals[vector * 2048 + d] * power
  }
}

/// Every kind of quantizer: a scale a vector, a scale given for the tensor, block formats, with shrinking.
private let kinds: [PanelQuantizer] = [
  PanelQuantizer(), PanelQuantizer(maximum: 1.5), PanelQuantizer(format: .mxint8), PanelQuantizer(format: .mxint4),
  PanelQuantizer(format: .mxint2), PanelQuantizer(format: .mxfp4, shrink: 0.75), PanelQuantizer(format: .mxfp6_e2m3),
]

/// The entries of a table against the scalar ones, to the bit.
@Suite struct PanelTableTests {
  @Test func tablesOfThisProcessor() {
    let names = PanelHarness.all.map(\.name)
    let missing = ["avx512", "avx2"].filter { !names.contains($0) }
    if !missing.isEmpty { print("panels: skipped on this processor: \(missing.joined(separator: ", "))") }
    #expect(names.last == "scalar")
  }

  @Test(arguments: PanelAxis.allCases, blocks) func quantize(axis: PanelAxis, block: Int) {
    for vectors in vectorCounts {
      for depth in depths {
        let odd = (vectors + depth) % 2
        let x = PanelSource(axis, vectors: vectors, depth: depth, padding: 5 * odd, offset: odd, lively(UInt64(depth)))
        for (i, kind) in kinds.enumerated() {
          for stochastic in [false, true] {
            var quantizer = kind
            quantizer.block = block
            quantizer.signs = i % 2 == 0 ? randomSigns(depth) : nil
            quantizer.stochastic = stochastic
            quantizer.firstElement = odd == 0 ? 64 : 0x7_FFFF_FFF3
            let side = (i + vectors) % 2 == 0 ? CK_LEFT : CK_RIGHT
            let expected = scalar.quantize(x, quantizer, side)
            for table in PanelHarness.all.dropLast() {
              let packed = table.quantize(x, quantizer, side, shift: odd)
              #expect(packed == expected, "\(table.name) \(vectors) x \(depth) kind \(i) stochastic \(stochastic)")
            }
          }
        }
      }
    }
  }

  /// Depths whose rotated vectors exceed the scratch memory of a thread.
  @Test(arguments: PanelAxis.allCases) func longVectors(axis: PanelAxis) {
    let x = PanelSource(axis, vectors: 18, depth: 9000, lively(1))
    for quantizer in [PanelQuantizer(block: 64, signs: randomSigns(9000)), PanelQuantizer()] {
      let expected = scalar.quantize(x, quantizer)
      for table in PanelHarness.all.dropLast() { #expect(table.quantize(x, quantizer) == expected, "\(table.name)") }
    }
  }

  @Test(arguments: PanelAxis.allCases, blocks) func specialNumbers(axis: PanelAxis, block: Int) {
    var x = PanelSource(axis, vectors: 40, depth: 200, lively(2))
    x[3, 40] = .nan
    x[17, 199] = .infinity
    x[18, 0] = 3e38
    for d in 0..<200 {
      x[20, d] = Float.leastNonzeroMagnitude * 70000
      x[21, d] = -0.0
      x[22, d] = d % 2 == 0 ? 3e38 : -3e38
      x[23, d] = d == 77 ? 1 : 0
      x[24, d] = 1e-37 * Float(d)
    }
    for kind in kinds {
      for stochastic in [false, true] {
        var quantizer = kind
        quantizer.block = block
        quantizer.stochastic = stochastic
        for side in [CK_LEFT, CK_RIGHT] {
          let expected = scalar.quantize(x, quantizer, side)
          for table in PanelHarness.all.dropLast() {
            #expect(table.quantize(x, quantizer, side) == expected, "\(table.name)")
          }
        }
      }
    }
    let expected = scalar.bfloat16(x)
    for table in PanelHarness.all.dropLast() { #expect(table.bfloat16(x) == expected, "\(table.name)") }
  }

  @Test(arguments: PanelAxis.allCases, blocks) func rotationsAndMaxima(axis: PanelAxis, block: Int) {
    for vectors in vectorCounts {
      for depth in depths {
        let odd = (vectors + depth) % 2, signs = odd == 0 ? nil : randomSigns(depth)
        let x = PanelSource(axis, vectors: vectors, depth: depth, padding: 3 * odd, offset: odd, lively(UInt64(depth)))
        let largest = scalar.largest(x, block: block, signs: signs), bf16 = scalar.bfloat16(x)
        for table in PanelHarness.all.dropLast() {
          #expect(table.largest(x, block: block, signs: signs) == largest, "\(table.name) \(vectors) x \(depth)")
          #expect(table.bfloat16(x) == bf16, "\(table.name) \(vectors) x \(depth)")
        }
        guard block == 0 || depth % block == 0 else { continue }
        for inverse in [false, true] {
          let expected = bits(scalar.rotate(x, block: block, signs: signs, inverse: inverse).memory)
          for table in PanelHarness.all.dropLast() {
            let y = table.rotate(x, block: block, signs: signs, inverse: inverse)
            #expect(bits(y.memory) == expected, "\(table.name) \(vectors) x \(depth)")
          }
        }
      }
    }
    for special in [Float.nan, .infinity] {
      var x = PanelSource(axis, vectors: 20, depth: 128) { _, _ in 1 }
      x[19, 127] = special
      for table in PanelHarness.all { #expect(table.largest(x, block: block, signs: nil).isNaN, "\(table.name)") }
    }
  }
}

/// The scalar table against definitions written without regard to panels.
@Suite struct PanelDefinitionTests {
  /// y = (x ∘ s) · H / √b over double, H[i][j] = (-1)^(bits that i and j share).
  private func rotated(_ x: [Float], block: Int, signs: [UInt32]?) -> [Double] {
    guard block > 0 else { return x.map(Double.init) }
    let count = (x.count + block - 1) / block * block
    let flipped = (0..<count).map { i in
      i < x.count ? Double((signs?[i] ?? 0) == 0 ? x[i] : -x[i]) : 0
    }
    return (0..<count).map { i in
      let start = i / block * block
      return (0..<block).reduce(0.0) { sum, j in
        sum + ((i % block & j).nonzeroBitCount % 2 == 0 ? flipped[start + j] : -flipped[start + j])
      } / Double(block).squareRoot()
    }
  }

  @Test(arguments: PanelAxis.allCases, blocks) func oneScaleForEachVector(axis: PanelAxis, block: Int) {
    let signs = randomSigns(100), normals = Normals(5)
    let x = PanelSource(axis, vectors: 21, depth: 100, padding: 3) { normals[$0 * 100 + $1] }
    let quantizer = PanelQuantizer(block: block, signs: signs)
    for side in [CK_LEFT, CK_RIGHT] {
      let packed = scalar.quantize(x, quantizer, side)
      for vector in 0..<21 {
        let y = rotated(x.vector(vector), block: block, signs: signs)
        let scale = y.map(abs).max()! / 127
        #expect(abs(Double(packed.scale(vector, 0)) / scale - 1) < 1e-6)
        for d in 0..<packed.depth {
          let exact = d < y.count ? y[d] : 0
          #expect(abs(Double(packed.code(vector, d)) - exact / scale) < 0.5001, "\(vector) \(d)")
        }
      }
      for vector in 21..<32 {
        #expect(packed.scale(vector, 0) == 0 && (0..<packed.depth).allSatisfy { packed.code(vector, $0) == 0 })
      }
      guard side == CK_LEFT else { continue }
      for vector in 0..<32 {
        for block in 0..<(packed.depth / 32) {
          let sum = (0..<32).reduce(0) { $0 + packed.code(vector, block * 32 + $1) }
          #expect(packed.sum(vector, block: block) == sum)
        }
      }
    }
  }

  /// Block formats round exactly as the codec does, stated in Swift by `ScalarCodec`.
  @Test(arguments: PanelAxis.allCases, [MXFormat.mxint8, .mxint6, .mxint4, .mxint2, .mxfp4, .mxfp6_e2m3])
  func blockFormatsAreTheCodec(axis: PanelAxis, format: MXFormat) {
    let signs = randomSigns(192)
    let x = PanelSource(axis, vectors: 19, depth: 192, lively(6))
    for block in [0, 64] {
      let y = scalar.rotate(x, block: block, signs: signs)
      let packed = scalar.quantize(x, PanelQuantizer(block: block, signs: signs, format: format))
      for vector in 0..<19 {
        let row = ScalarCodec.quantize(row: y.vector(vector), as: format)
        let values = ScalarCodec.dequantize(row, from: format)
        #expect((0..<192).allSatisfy { packed.value(vector, $0) == values[$0] }, "vector \(vector) block \(block)")
      }
      for vector in 19..<32 {
        #expect((0..<192).allSatisfy { packed.code(vector, $0) == 0 && packed.scale(vector, $0) == 1 })
      }
    }
  }

  @Test(arguments: PanelAxis.allCases) func bfloat16(axis: PanelAxis) {
    let x = PanelSource(axis, vectors: 17, depth: 33, padding: 2, lively(7))
    let codes = scalar.bfloat16(x)
    for vector in 0..<32 {
      for d in 0..<64 {
        let code = codes[vector / 16 * 64 * 16 + d / 2 * 32 + vector % 16 * 2 + d % 2]
        let got = Float(bitPattern: UInt32(code) << 16)
        guard vector < 17, d < 33 else {
          #expect(code == 0)
          continue
        }
        let value = x[vector, d], step = value.ulp * 0x1p16
        #expect(abs(value - got) <= step / 2)
        if abs(value - got) == step / 2 { #expect(code % 2 == 0) }
      }
    }
  }

  /// T1, T2: the rotation is orthogonal, its inverse is its transpose, on both axes, with and without signs.
  @Test(arguments: PanelAxis.allCases, [16, 32, 64, 128]) func rotationIsOrthogonal(axis: PanelAxis, block: Int) {
    for signs in [nil, randomSigns(block)] {
      let unit = PanelSource(axis, vectors: block, depth: block) { $0 == $1 ? 1 : 0 }
      let h = scalar.rotate(unit, block: block, signs: signs)
      for i in 0..<block {
        for j in 0..<block {
          let product = (0..<block).reduce(0.0) { $0 + Double(h[i, $1]) * Double(h[j, $1]) }
          #expect(abs(product - (i == j ? 1 : 0)) < 1e-6)
        }
        let exact = rotated(unit.vector(i), block: block, signs: signs)
        #expect((0..<block).allSatisfy { abs(Double(h[i, $0]) - exact[$0]) < 1e-7 })
      }
      let normals = Normals(8)
      let wide = PanelSource(axis, vectors: 9, depth: 3 * block) { normals[$0 * 512 + $1] }
      let longSigns = signs.map { $0 + $0 + $0 }
      let turned = scalar.rotate(wide, block: block, signs: longSigns)
      let back = scalar.rotate(turned, block: block, signs: longSigns, inverse: true)
      #expect((0..<9).allSatisfy { v in (0..<(3 * block)).allSatisfy { abs(back[v, $0] - wide[v, $0]) < 3e-6 } })
    }
  }

  /// T13: outlier channels and tokens are spread until nothing stands out.
  @Test func crestAfterRotation() {
    let normals = Normals(9)
    for (axis, outlier, limit): (PanelAxis, (Int, Int) -> Bool, Double) in [
      (.rows, { _, d in d % 128 == 5 }, 40), (.columns, { _, d in d % 110 == 7 }, 30),
    ] {
      let depth = axis == .rows ? 1024 : 512
      let x = PanelSource(axis, vectors: 256, depth: depth) { v, d in
        normals[v * 1024 + d] * (outlier(v, d) ? 50 : 1)
      }
      let energy = (0..<256).reduce(0.0) { sum, v in sum + x.vector(v).reduce(0.0) { $0 + Double($1 * $1) } }
      let rms = (energy / Double(256 * depth)).squareRoot()
      for table in PanelHarness.all {
        #expect(Double(table.largest(x, block: 0, signs: nil)) / rms > limit * 0.8)
        for block in [64, 128] {
          let largest = Double(table.largest(x, block: block, signs: randomSigns(depth)))
          #expect(largest / rms <= 6, "\(table.name) \(block)")
        }
      }
    }
  }
}
