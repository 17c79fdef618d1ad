import CKernels
import Formats
import Kernels
import Tensors
import Testing

/// Stochastic rounding, and the numbers that no quantizer may stumble over, in every table.
@Suite struct PanelRoundingTests {
  /// The mean of 400 draws with different keys.
  private func meanOfDraws(_ table: PanelHarness, _ x: PanelSource, _ quantizer: PanelQuantizer) -> [Double] {
    var sums = Array(repeating: 0.0, count: x.vectors * x.depth)
    var quantizer = quantizer
    for draw in 0..<400 {
      quantizer.key = (UInt32(draw), 77)
      let packed = table.quantize(x, quantizer)
      for v in 0..<x.vectors { for d in 0..<x.depth { sums[v * x.depth + d] += Double(packed.value(v, d)) } }
    }
    return sums.map { $0 / 400 }
  }

  /// One vector table is enough where all agree to the bit.
  private var fastest: PanelHarness { PanelHarness.all[0] }
  private let normals = Normals(11)

  private func gaussian(_ axis: PanelAxis) -> PanelSource {
    PanelSource(axis, vectors: 32, depth: 64) { normals[$0 * 64 + $1] }
  }

  /// T7 for 8 bits.
  @Test(arguments: PanelAxis.allCases) func meanOfManyDraws(axis: PanelAxis) {
    let x = gaussian(axis)
    let mean = meanOfDraws(fastest, x, PanelQuantizer(stochastic: true))
    var error = 0.0, energy = 0.0
    for v in 0..<32 {
      for d in 0..<64 {
        let exact = Double(x[v, d])
        error += (mean[v * 64 + d] - exact) * (mean[v * 64 + d] - exact)
        energy += exact * exact
      }
    }
    #expect((error / energy).squareRoot() < 1e-3)
  }

  /// T7 for MXFP4: without room above, the largest elements are cut; 3/4 gives room.
  @Test func gainOfFourBits() {
    func gain(_ quantizer: PanelQuantizer) -> Double {
      let x = gaussian(.rows)
      let mean = meanOfDraws(fastest, x, quantizer)
      var product = 0.0, energy = 0.0
      for v in 0..<32 {
        for d in 0..<64 {
          product += mean[v * 64 + d] * Double(x[v, d])
          energy += Double(x[v, d]) * Double(x[v, d])
        }
      }
      return product / energy
    }
    #expect(abs(gain(PanelQuantizer(format: .mxfp4, stochastic: true, shrink: 0.75)) - 1) < 0.002)
    #expect(abs(gain(PanelQuantizer(format: .mxfp4, stochastic: true)) - 0.989) < 0.004)
  }

  /// What an element becomes depends on its number, not on which call rounds it.
  @Test(arguments: [PanelQuantizer(block: 64, stochastic: true), PanelQuantizer(format: .mxfp4, stochastic: true)])
  func splittingChangesNothing(quantizer: PanelQuantizer) {
    var quantizer = quantizer
    quantizer.firstElement = 1000
    for table in PanelHarness.all {
      for axis in PanelAxis.allCases {
        let whole = PanelSource(axis, vectors: 50, depth: 99) { normals[$0 * 99 + $1] }
        let expected = table.quantize(whole, quantizer)
        for cut in [1, 16, 33] {
          // The second part as it lies in the whole: the same stride, an offset.
          let step = axis == .rows ? whole.stride : 1
          let rest = PanelSource(
            axis, vectors: 50 - cut, depth: 99, padding: axis == .rows ? 0 : cut
          ) { whole[cut + $0, $1] }
          #expect(rest.stride == whole.stride)
          var later = quantizer
          later.firstElement += UInt64(cut * step)
          let packed = table.quantize(rest, later)
          let same = (cut..<50).allSatisfy { v in
            (0..<99).allSatisfy { packed.code(v - cut, $0) == expected.code(v, $0) }
          }
          #expect(same, "\(table.name) \(axis) \(cut)")
        }
      }
    }
  }

  /// Bits of an element as the header counts them.
  @Test func randomBitsAreThoseOfCounterRandom() {
    let random = CounterRandom(seed: 42, stream: 9)
    let x = PanelSource(.rows, vectors: 3, depth: 64) { v, d in d == 0 ? 127 : Float(d) + 0.25 * Float(v + 1) }
    var quantizer = PanelQuantizer(stochastic: true, firstElement: 5)
    quantizer.key = keyOf(seed: 42, stream: 9)
    let packed = fastest.quantize(x, quantizer)
    for v in 0..<3 {
      for d in 1..<64 {
        let element = UInt64(5 + v * 64 + d), words = random.words(element / 8)
        let word = [words.0, words.1, words.2, words.3][Int(element % 8 / 2)]
        let u = (Float(word >> UInt32(16 * (element % 2)) & 0xFFFF) + 0.5) * 0x1p-16
        #expect(packed.code(v, d) == Int((x[v, d] + u).rounded(.down)))
      }
    }
  }

  /// The key that CounterRandom makes of a seed and a stream.
  private func keyOf(seed: UInt64, stream: UInt64) -> (UInt32, UInt32) {
    func mix(_ value: UInt64) -> UInt64 {
      var z = value &+ 0x9E37_79B9_7F4A_7C15
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
    let mixed = mix(mix(seed) ^ (stream &* 0x9E37_79B9_7F4A_7C15))
    return (UInt32(truncatingIfNeeded: mixed), UInt32(truncatingIfNeeded: mixed >> 32))
  }

  /// T8.
  @Test(arguments: PanelAxis.allCases) func zerosSpikesAndWhatIsNoNumber(axis: PanelAxis) {
    var x = PanelSource(axis, vectors: 6, depth: 64) { _, _ in 0 }
    x[1, 9] = -3
    x[2, 40] = .infinity
    x[3, 40] = .nan
    for d in 0..<64 { x[4, d] = Float.leastNonzeroMagnitude * (d % 2 == 0 ? 7000 : -70000) }
    for d in 0..<64 { x[5, d] = d % 2 == 0 ? -2 : 0.3 }
    for table in PanelHarness.all {
      for stochastic in [false, true] {
        let packed = table.quantize(x, PanelQuantizer(stochastic: stochastic))
        #expect(packed.scale(0, 0) == 0 && packed.scale(4, 0) == 0, "\(table.name)")
        #expect(packed.code(1, 9) == -127 && packed.scale(1, 0) == 3.0 / 127)
        #expect((0..<64).allSatisfy { $0 == 9 || packed.code(1, $0) == 0 })
        for v in [0, 2, 3, 4] { #expect((0..<64).allSatisfy { packed.code(v, $0) == 0 }, "\(table.name) \(v)") }
        #expect(packed.scale(2, 0).isNaN && packed.scale(3, 0).isNaN && packed.scale(5, 0) == 2.0 / 127)

        let blocked = table.quantize(x, PanelQuantizer(format: .mxint8, stochastic: stochastic))
        #expect(blocked.scale(0, 0) == 1 && blocked.scale(2, 0) == 1 && blocked.scale(4, 0) == 1)
        #expect(blocked.scale(2, 32).isNaN && blocked.scale(3, 32).isNaN && blocked.value(1, 9) == -3)
        #expect((32..<64).allSatisfy { blocked.code(2, $0) == 0 && blocked.code(3, $0) == 0 })
      }
    }
  }

  @Test func leastByteNeverComesOut() {
    for table in PanelHarness.all {
      for kind in [PanelQuantizer(), PanelQuantizer(maximum: 0.5), PanelQuantizer(format: .mxint8)] {
        for stochastic in [false, true] {
          var quantizer = kind
          quantizer.stochastic = stochastic
          let x = PanelSource(.columns, vectors: 64, depth: 64) { v, d in d % 3 == 0 ? -1.999999 : normals[v * 64 + d] }
          let packed = table.quantize(x, quantizer)
          #expect(!packed.codes.contains(0x80), "\(table.name)")
        }
      }
    }
  }
}
