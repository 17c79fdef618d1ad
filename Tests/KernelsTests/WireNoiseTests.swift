import Kernels
import Tensors
import Testing

/// What the wire does to a sum of gradients: errors of one step, and of many.
@Suite(.keepsOperands) struct WireNoiseTests {
  private let fastest = KernelTable.available[0]
  private let gradients = WireCodec(bits: .four, group: 128)

  /// Relative error of the sum over 16 workers.
  private func error(of workers: [[Float]], rotated: Bool, stochastic: Bool) -> Double {
    let count = workers[0].count
    var sum = [Float](repeating: 0, count: count), exact = [Double](repeating: 0, count: count)
    for (rank, x) in workers.enumerated() {
      let random = CounterRandom(seed: 9, stream: UInt64(rank))
      let test = WireCase(
        codec: gradients, rotated: rotated, rounding: stochastic ? .stochastic(random, first: 0) : .nearest)
      sum = test.unpack(test.pack(x, on: fastest), count: count, sum: sum, on: fastest)
      for i in exact.indices { exact[i] += Double(x[i]) }
    }
    if rotated { sum = unrotated(sum) }
    let noise = zip(sum, exact).reduce(0) { $0 + (Double($1.0) - $1.1) * (Double($1.0) - $1.1) }
    return (noise / exact.reduce(0) { $0 + $1 * $1 }).squareRoot()
  }

  private func unrotated(_ y: [Float]) -> [Float] {
    let operand = F32(y)
    unsafe WireRotation.unrotate(operand.pointer, count: y.count, into: operand.pointer, on: fastest)
    return operand.values
  }

  /// C13, and the figures for Gaussian and Student-t(3) gradients in 4 bits.
  @Test func rotationTamesHeavyTails() {
    let normals = Normals(41), count = 16_384
    let gaussian = (0..<16).map { rank in (0..<count).map { normals[rank * count + $0] } }
    let tails = (0..<16).map { rank in
      (0..<count).map { i -> Float in
        let at = 4 * (rank * count + i) + 1_000_000
        let squares = (1...3).reduce(Float(0)) { $0 + normals[at + $1] * normals[at + $1] }
        return normals[at] / (squares / 3).squareRoot()
      }
    }
    func check(_ workers: [[Float]], _ rotated: Bool, _ stochastic: Bool, near figure: Double) {
      let error = error(of: workers, rotated: rotated, stochastic: stochastic)
      #expect(abs(error / figure - 1) < 0.1, "\(error) is far from \(figure)")
    }
    check(gaussian, false, false, near: 0.117)
    check(gaussian, true, false, near: 0.118)
    check(gaussian, false, true, near: 0.166)
    check(gaussian, true, true, near: 0.166)
    check(tails, true, false, near: 0.114)
    check(tails, true, true, near: 0.162)
    for stochastic in [false, true] {
      let with = error(of: tails, rotated: true, stochastic: stochastic)
      let without = error(of: tails, rotated: false, stochastic: stochastic)
      #expect(with <= 0.6 * without, "Student-t(3), stochastic \(stochastic): \(with) with, \(without) without")
    }
  }

  /// Each element's mean over many keys lies within four standard deviations of the element.
  @Test(arguments: WireCodec.Bits.allCases) func stochasticRoundingHasNoBias(bits: WireCodec.Bits) {
    let normals = Normals(43), draws = 3000, x = (0..<256).map { normals[$0] }
    let codec = WireCodec(bits: bits, group: 128)
    var sums = [Double](repeating: 0, count: 256), scales: [Double] = []
    for draw in 0..<draws {
      let test = WireCase(codec: codec, rounding: .stochastic(CounterRandom(seed: UInt64(draw)), first: 77))
      let payload = test.pack(x, on: fastest)
      scales = payload.scales.map { Double(Float(bitPattern: $0)) }
      for (i, value) in WireDefinition.unpack(payload, codec).enumerated() { sums[i] += Double(value) }
    }
    var squares = 0.0
    for i in 0..<256 {
      let scale = scales[i / 128], steps = Double(x[i]) / scale, share = steps - steps.rounded(.down)
      let deviation = max((share * (1 - share) / Double(draws)).squareRoot(), 1e-5)
      let distance = (sums[i] / Double(draws) / scale - steps) / deviation
      #expect(abs(distance) < 4, "element \(i): \(distance) standard deviations")
      squares += distance * distance / 256
    }
    #expect(squares > 0.7 && squares < 1.3, "deviations are as large as they should be: \(squares)")
  }

  /// What an element becomes depends on its number, not on where its run begins.
  @Test func cuttingChangesNothing() {
    let normals = Normals(44), x = (0..<1500).map { normals[$0] }, random = CounterRandom(seed: 8)
    for table in KernelTable.available {
      for codec in [gradients, WireCodec(bits: .eight, group: 32)] {
        let whole = WireCase(codec: codec, rotated: true, rounding: .stochastic(random, first: 1003)).pack(x, on: table)
        for groups in [1, 3, 7] {
          let cut = groups * codec.group
          let rest = WireCase(
            codec: codec, rotated: true, rounding: .stochastic(random, first: 1003 + UInt64(cut)), misalignment: 3)
          let payload = rest.pack(Array(x[cut...]), on: table)
          #expect(payload.scales == Array(whole.scales[groups...]), "\(table.name)")
          #expect(payload.codes == Array(whole.codes[(cut * codec.bits.rawValue / 8)...]), "\(table.name)")
        }
      }
    }
  }

  /// With a residual, what was sent over many steps is what should have been sent, but for one step's error.
  @Test func residualKeepsSumsOnTrack() {
    let normals = Normals(45), count = 2000, steps = 64, x = (0..<count).map { normals[$0] }
    let exact = WireDefinition.rotated(x)
    for table in KernelTable.available {
      var test = WireCase(codec: gradients, rotated: true)
      test.residual = [Float](repeating: 0, count: gradients.paddedCount(count))
      var sum = [Double](repeating: 0, count: exact.count), largestScale: Float = 0
      for _ in 0..<steps {
        let payload = test.pack(x, on: table)
        test.residual = payload.residual!.map(Float.init(bitPattern:))
        largestScale = max(largestScale, payload.scales.map(Float.init(bitPattern:)).max()!)
        for (i, value) in WireDefinition.unpack(payload, gradients).enumerated() { sum[i] += Double(value) }
      }
      let residual = test.residual!
      #expect(residual.allSatisfy { $0.magnitude <= 0.501 * largestScale }, "\(table.name): half a step at most")
      let missed = exact.indices.map { abs(Double(steps) * Double(exact[$0]) - sum[$0] - Double(residual[$0])) }
      #expect(missed.max()! < 1e-3, "\(table.name): sent and kept make up the sum, but for \(missed.max()!)")
    }
  }
}
