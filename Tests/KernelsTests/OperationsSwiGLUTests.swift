import CKernels
import Kernels
import Testing

#if canImport(Glibc)
  import Glibc
#endif

@Suite(.keepsOperands) struct OperationsSwiGLUTests {
  /// Gates over the whole useful range, and where exp(-|gate|) is subnormal or zero.
  private func gates(_ n: Int) -> [Float] {
    Numbers("gate").floats(n, 12).enumerated().map { $0 % 7 == 5 ? $1 * 9 : $1 }
  }

  @Test(arguments: sizes) func forwardAndBackward(n: Int) {
    let gate = gates(n), up = Numbers("up").floats(n, 3), dy = Numbers("dy").floats(n, 2)
    let y = F64(zeros: n), dgate = F64(zeros: n), dup = F64(zeros: n)
    unsafe reference.swiglu_forward(Int64(n), F64(wide(gate)).pointer, F64(wide(up)).pointer, y.pointer)
    unsafe reference.swiglu_backward(
      Int64(n), F64(wide(gate)).pointer, F64(wide(up)).pointer, F64(wide(dy)).pointer, dgate.pointer, dup.pointer)
    // exp within 1 ulp (2 roundoffs), then 1 + e, a quotient and two products; absolute where e is subnormal.
    let forward = y.values
    checkTables(
      .ulps(4), [Expected("y", forward) { 8 * roundoff * abs(forward[$0]) + leastFloat * 400 }], "n \(n)"
    ) { operations in
      let y = F32(zeros: n, misalignment: 1)
      unsafe operations.swiglu_forward(Int64(n), F32(gate, misalignment: 3).pointer, F32(up).pointer, y.pointer)
      return [y.values]
    }
    // sigmoid and its complement within 6 roundoffs; 1 + g * complement cancels near g = -1.28, so its error is that
    // of its larger term.
    let backward = dgate.values, sideways = dup.values
    let expected = [
      Expected("dgate", backward) { i in
        let g = Double(gate[i]), s = 1 / (1 + exp(-g))
        return 12 * roundoff * abs(Double(dy[i]) * Double(up[i])) * s * (1 + abs(g * (1 - s))) + leastFloat * 400
      },
      Expected("dup", sideways) { 9 * roundoff * abs(sideways[$0]) + leastFloat * 400 },
    ]
    checkTables(.sum, expected, "n \(n)") { operations in
      let dgate = F32(zeros: n, misalignment: 1), dup = F32(zeros: n)
      unsafe operations.swiglu_backward(
        Int64(n), F32(gate).pointer, F32(up, misalignment: 2).pointer, F32(dy).pointer, dgate.pointer, dup.pointer)
      return [dgate.values, dup.values]
    }
    checkTables(.ulps(8), [expected[1]], "dup alone, n \(n)") { operations in
      let dup = F32(zeros: n)
      unsafe operations.swiglu_backward(
        Int64(n), F32(gate).pointer, F32(up).pointer, F32(dy).pointer, F32(zeros: n).pointer, dup.pointer)
      return [dup.values]
    }
    checkTables(.sum, expected, "in place, n \(n)") { operations in
      let g = F32(gate, misalignment: 1), u = F32(up)
      unsafe operations.swiglu_backward(Int64(n), g.pointer, u.pointer, F32(dy).pointer, g.pointer, u.pointer)
      return [g.values, u.values]
    }
  }

  @Test func numbersThatCanBeToldByHand() {
    let gate: [Float] = [0, 1, -1, 200, -200, .infinity, .nan], up = [Float](repeating: 2, count: 7)
    for table in KernelTable.available {
      let y = F32(zeros: 7)
      unsafe table.operations.swiglu_forward(7, F32(gate).pointer, F32(up).pointer, y.pointer)
      let v = y.values
      #expect(v[0] == 0 && abs(v[1] - 1.462_117_2) < 2e-7 && abs(v[2] + 0.537_882_84) < 1e-7)
      #expect(v[3] == 400 && v[4] == 0 && v[5] == .infinity && v[6].isNaN)
    }
  }
}
