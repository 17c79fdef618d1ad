import CKernels
import Kernels
import Testing

#if canImport(Glibc)
  import Glibc
#endif

@Suite(.keepsOperands) struct OperationsNormTests {
  /// Long float sums run in 64 lanes: D / 64 additions in a lane, up to 4 for the rest, 6 in the tree.
  private func depth(_ D: Int) -> Double { Double(D / 64 + 10) }

  @Test(arguments: Array(sizes.dropFirst())) func rmsNorm(D: Int) {
    let T = 3, xStride = D + 2, yStride = D + 5
    let x = Numbers("x").floats(T * xStride, 2), gain = Numbers("gain").floats(D), dy = Numbers("dy").floats(T * yStride)
    let dx0 = Numbers("dx").floats(T * xStride), dgain0 = Numbers("dgain").floats(D), epsilon: Float = 1e-5
    let y = F64(zeros: T * yStride), rstd = F64(zeros: T)
    unsafe reference.rms_norm_forward(
      Int64(T), Int64(D), Double(epsilon), F64(wide(x)).pointer, Int64(xStride), F64(wide(gain)).pointer, y.pointer,
      Int64(yStride), rstd.pointer)
    // rstd is the -1/2 power of a sum of squares with a relative error of (depth + 1) roundoffs, then rounded itself.
    let rstdBound = (depth(D) + 1) / 2 + 1.5, r = rstd.values, forward = y.values
    checkTables(
      .sum,
      [
        Expected("y", forward) { (rstdBound + 2) * roundoff * abs(forward[$0]) },
        Expected("rstd", r) { rstdBound * roundoff * r[$0] },
      ], "D \(D)"
    ) { operations in
      let y = F32(zeros: T * yStride, misalignment: 1), rstd = F32(zeros: T)
      unsafe operations.rms_norm_forward(
        Int64(T), Int64(D), epsilon, F32(x, misalignment: 3).pointer, Int64(xStride), F32(gain).pointer, y.pointer,
        Int64(yStride), rstd.pointer)
      return [y.values, rstd.values]
    }

    let givenRstd = r.map { Float($0) }
    let dx = F64(wide(dx0)), dgain = F64(wide(dgain0))
    unsafe reference.rms_norm_backward(
      Int64(T), Int64(D), F64(wide(x)).pointer, Int64(xStride), F64(wide(gain)).pointer, F64(wide(givenRstd)).pointer,
      F64(wide(dy)).pointer, Int64(yStride), dx.pointer, dgain.pointer)
    let dxTolerance = (0..<T * xStride).map { i -> Double in
      let (t, j) = (i / xStride, i % xStride)
      guard j < D else { return 0 }
      let r = Double(givenRstd[t])
      var along = 0.0
      for k in 0..<D { along += abs(Double(gain[k]) * Double(dy[t * yStride + k]) * Double(x[t * xStride + k])) }
      along *= r * r * r / Double(D) * abs(Double(x[i]))
      let straight = abs(r * Double(gain[j]) * Double(dy[t * yStride + j]))
      return roundoff * (4 * straight + (depth(D) + 5) * along + 3 * abs(Double(dx0[i])))
    }
    let dgainTolerance = (0..<D).map { j -> Double in
      let terms = (0..<T).reduce(0.0) {
        $0 + abs(Double(dy[$1 * yStride + j]) * Double(x[$1 * xStride + j]) * Double(givenRstd[$1]))
      }
      return roundoff * Double(2 * T + 3) * (terms + abs(Double(dgain0[j])))
    }
    checkTables(
      .sum,
      [Expected("dx", dx.values) { dxTolerance[$0] }, Expected("dgain", dgain.values) { dgainTolerance[$0] }], "D \(D)"
    ) { operations in
      let dx = F32(dx0, misalignment: 1), dgain = F32(dgain0, misalignment: 2)
      unsafe operations.rms_norm_backward(
        Int64(T), Int64(D), F32(x).pointer, Int64(xStride), F32(gain).pointer, F32(givenRstd).pointer,
        F32(dy, misalignment: 3).pointer, Int64(yStride), dx.pointer, dgain.pointer)
      return [dx.values, dgain.values]
    }
  }

  @Test func rmsNormOfALineIsItsSign() {
    for table in KernelTable.available {
      let y = F32(zeros: 4), rstd = F32(zeros: 1)
      unsafe table.operations.rms_norm_forward(
        1, 4, 0, F32([2, -2, 2, -2]).pointer, 4, F32([1, 1, 3, 3]).pointer, y.pointer, 4, rstd.pointer)
      #expect(y.values == [1, -1, 3, -3] && rstd.values == [0.5])
    }
  }

  @Test func aNaNStaysInItsRow() {
    for table in KernelTable.available {
      let D = 40
      var x = Numbers("x").floats(2 * D)
      x[37] = .nan
      let y = F32(zeros: 2 * D), rstd = F32(zeros: 2)
      unsafe table.operations.rms_norm_forward(
        2, Int64(D), 1e-5, F32(x).pointer, Int64(D), F32(x.map { _ in 1 }).pointer, y.pointer, Int64(D), rstd.pointer)
      #expect(y.values[..<D].allSatisfy { $0.isNaN } && y.values[D...].allSatisfy { $0.isFinite })
    }
  }

  @Test(arguments: [2, 6, 16, 30, 32, 34, 64, 66, 128], [Int32(1), -1]) func rope(d: Int, direction: Int32) {
    let T = 7, H = 3, period = 5, first = 3, stride = H * d + 1, half = d / 2
    let x = Numbers("x").floats(T * stride), angles = Numbers("angle").doubles(period * half, 3)
    let cosines = angles.map { Float(cos($0)) }, sines = angles.map { Float(sin($0)) }
    let turned = F64(wide(x))
    unsafe reference.rope(
      Int64(T), Int64(H), Int64(d), turned.pointer, Int64(stride), F64(wide(cosines)).pointer, F64(wide(sines)).pointer,
      Int64(first), Int64(period), direction)
    // two products and a sum of numbers below 1
    checkTables(.exact, [Expected("x", turned.values) { _ in 4 * roundoff }], "d \(d)") { operations in
      let y = F32(x, misalignment: 1)
      unsafe operations.rope(
        Int64(T), Int64(H), Int64(d), y.pointer, Int64(stride), F32(cosines).pointer, F32(sines, misalignment: 1).pointer,
        Int64(first), Int64(period), direction)
      for t in 0..<T { #expect(y.values[t * stride + H * d] == x[t * stride + H * d]) }
      return [y.values]
    }
  }

  @Test func ropeTurnsBackAndItsPositionsRepeat() {
    let T = 8, d = 8, half = 4, period = 4
    let angles = (0..<period * half).map { Double($0 / half) / pow(100, Double($0 % half) / 4) }
    let cosines = F32(angles.map { Float(cos($0)) }), sines = F32(angles.map { Float(sin($0)) })
    for table in KernelTable.available {
      let once = Numbers("x").floats(period * d), x = F32(once + once)
      unsafe table.operations.rope(Int64(T), 1, Int64(d), x.pointer, Int64(d), cosines.pointer, sines.pointer, 0, 4, 1)
      #expect(x.values[..<(period * d)] == x.values[(period * d)...])
      #expect(x.values[..<d] == once[..<d] && x.values[d..<2 * d] != once[d..<2 * d])
      unsafe table.operations.rope(Int64(T), 1, Int64(d), x.pointer, Int64(d), cosines.pointer, sines.pointer, 0, 4, -1)
      #expect(zip(x.values, once + once).allSatisfy { abs($0 - $1) < 1e-6 })
    }
  }
}
