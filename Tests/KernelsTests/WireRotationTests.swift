import Kernels
import Tensors
import Testing

/// The parts of the wire that lose nothing, or next to nothing: rotation, bf16, differences of bytes.
@Suite(.keepsOperands) struct WireRotationTests {
  static let counts = [0, 1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 1000, 70_001]
  private let normals = Normals(51)

  private func rotate(_ x: [Float], factor: Float = 1, shift: Int = 0, on table: KernelTable) -> [Float] {
    let y = F32(zeros: WireRotation.paddedCount(x.count), misalignment: shift)
    let source = F32(x, misalignment: shift)
    unsafe WireRotation.rotate(source.pointer, count: x.count, into: y.pointer, factor: factor, on: table)
    return y.values
  }

  private func unrotate(_ y: [Float], count: Int, shift: Int = 0, on table: KernelTable) -> [Float] {
    let x = F32(zeros: count, misalignment: shift)
    unsafe WireRotation.unrotate(F32(y, misalignment: shift).pointer, count: count, into: x.pointer, on: table)
    return x.values
  }

  @Test(arguments: counts) func thereAndBack(count: Int) {
    let x = (0..<count).map { normals[$0] }, integers = (0..<count).map { Float(($0 * 7919) % 2001 - 1000) }
    let there = WireDefinition.rotated(x), back = WireDefinition.rotated(there).map { $0 / 32 }
    for table in KernelTable.available {
      for shift in [0, 1, 3] {
        #expect(rotate(x, shift: shift, on: table).patterns == there.patterns, "\(table.name), \(count)")
        #expect(rotate(x, factor: 0.3, shift: shift, on: table).patterns == there.map { $0 * 0.3 }.patterns)
        let returned = unrotate(there, count: count, shift: shift, on: table)
        #expect(returned.patterns == back.prefix(count).map { $0 }.patterns, "\(table.name), \(count)")
        // Ten stages of sums, each within half an ulp of numbers that are at most a few times sqrt(32).
        #expect(zip(returned, x).allSatisfy { abs($0 - $1) < 20 * 0x1p-24 }, "\(table.name), \(count)")
        #expect(unrotate(rotate(integers, on: table), count: count, on: table) == integers, "\(table.name), \(count)")
      }
    }
  }

  /// Sylvester's matrix, by the number of ones that row and column share.
  @Test func matrixOfOrder32() {
    for table in KernelTable.available {
      for column in 0..<32 {
        let y = rotate((0..<32).map { $0 == column ? 1 : 0 }, on: table)
        #expect((0..<32).allSatisfy { y[$0] == ((($0 & column).nonzeroBitCount % 2 == 0) ? 1 : -1) }, "\(table.name)")
      }
    }
  }

  @Test func inPlace() {
    let x = (0..<320).map { normals[$0] }
    for table in KernelTable.available {
      let y = F32(x)
      unsafe WireRotation.rotate(y.pointer, count: 320, into: y.pointer, on: table)
      #expect(y.values.patterns == WireDefinition.rotated(x).patterns, "\(table.name)")
      unsafe WireRotation.unrotate(y.pointer, count: 320, into: y.pointer, on: table)
      #expect(zip(y.values, x).allSatisfy { abs($0 - $1) < 20 * 0x1p-24 }, "\(table.name)")
    }
  }

  /// Every pattern of 16 bits is its own bf16; ties go to even; the carry of a mantissa reaches infinity.
  @Test func brainFloats() {
    let patterns = (0...UInt32(UInt16.max)).map { $0 << 16 }
    let below = patterns.map { $0 | 0x7FFF }, ties = patterns.map { $0 | 0x8000 }, above = patterns.map { $0 | 0x8001 }
    let all = (patterns + below + ties + above).map(Float.init(bitPattern:))
    let expected = all.map { x -> UInt16? in
      if x.isNaN { return nil }
      let low = UInt16(truncatingIfNeeded: x.bitPattern >> 16), rest = x.bitPattern & 0xFFFF
      return rest > 0x8000 || rest == 0x8000 && low & 1 == 1 ? low + 1 : low
    }
    for table in KernelTable.available {
      let rounded = Operand<UInt16>(zeros: all.count, misalignment: 1)
      unsafe BrainFloat.round(F32(all).pointer, count: all.count, into: rounded.pointer, on: table)
      let got = rounded.values
      #expect(got.indices.allSatisfy { i in
        expected[i].map { $0 == got[i] } ?? (got[i] & 0x7FC0 == 0x7FC0)
      }, "\(table.name)")
      for count in Self.counts.prefix(13) {
        let some = Operand<UInt16>(zeros: count, misalignment: 3), wide = F32(zeros: count, misalignment: 1)
        let source = F32(Array(all.suffix(90_000).prefix(count)))
        unsafe BrainFloat.round(source.pointer, count: count, into: some.pointer, on: table)
        #expect(some.values == Array(got.suffix(90_000).prefix(count)), "\(table.name), \(count)")
        unsafe BrainFloat.widen(some.pointer, count: count, into: wide.pointer, on: table)
        #expect(wide.values.map(\.bitPattern) == some.values.map { UInt32($0) << 16 }, "\(table.name), \(count)")
      }
    }
  }

  @Test(arguments: counts) func bytes(count: Int) {
    let random = CounterRandom(seed: 4)
    let a = (0..<count).map { UInt8(truncatingIfNeeded: random.word(UInt64($0))) }
    let b = (0..<count).map { UInt8(truncatingIfNeeded: random.word(UInt64($0 + 1_000_000))) }
    for table in KernelTable.available {
      let difference = Bytes([UInt8](repeating: 1, count: count), misalignment: 5), sum = Bytes(b, misalignment: 9)
      unsafe ByteDifference.subtract(
        Bytes(a, misalignment: 1).pointer, Bytes(b).pointer, count: count, into: difference.pointer, on: table)
      #expect(difference.values == zip(a, b).map { $0 &- $1 }, "\(table.name)")
      unsafe ByteDifference.add(difference.pointer, count: count, to: sum.pointer, on: table)
      #expect(sum.values == a, "\(table.name)")
    }
  }
}
