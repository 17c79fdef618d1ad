import CKernels
import Kernels
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// The [exact] operations: sums and products of elements, AdamW, and the two reductions behind clipping.
@Suite(.keepsOperands) struct OperationsElementwiseTests {
  @Test(arguments: sizes) func addAccumulateScale(n: Int) {
    let a = Numbers("a").floats(n), b = Numbers("b").floats(n)
    let sum = zip(a, b).map { Double($0) + Double($1) }
    checkTables(.exact, [Expected("add", sum) { roundoff * abs(sum[$0]) }], "n \(n)") { operations in
      let x = F32(a, misalignment: 1), y = F32(b), z = F32(zeros: n, misalignment: 3)
      unsafe operations.add(Int64(n), x.pointer, y.pointer, z.pointer)
      #expect(x.values == a && y.values == b)
      return [z.values]
    }
    checkTables(.exact, [Expected("add in place", sum) { roundoff * abs(sum[$0]) }], "n \(n)") { operations in
      let x = F32(a, misalignment: 1), y = F32(b)
      unsafe operations.add(Int64(n), x.pointer, y.pointer, y.pointer)
      return [y.values]
    }
    checkTables(.exact, [Expected("accumulate", sum) { roundoff * abs(sum[$0]) }], "n \(n)") { operations in
      let x = F32(a), y = F32(b, misalignment: 5)
      unsafe operations.accumulate(Int64(n), x.pointer, y.pointer)
      return [y.values]
    }
    let scaled = a.map { Double($0) * Double(Float(1.7)) }
    checkTables(.exact, [Expected("scale", scaled) { roundoff * abs(scaled[$0]) }], "n \(n)") { operations in
      let x = F32(a, misalignment: 2)
      unsafe operations.scale(Int64(n), 1.7, x.pointer)
      return [x.values]
    }
  }

  @Test(arguments: [0, 1, 7, 16, 33, 200]) func biasAddsAndItsGradientSumsOverTokens(D: Int) {
    let T = 5, stride = D + 3
    let bias = Numbers("bias").floats(D), y = Numbers("y").floats(T * stride), old = Numbers("old").floats(D)
    let forward = F64(wide(y)), backward = F64(wide(old))
    unsafe reference.bias_forward(Int64(T), Int64(D), F64(wide(bias)).pointer, forward.pointer, Int64(stride))
    unsafe reference.bias_backward(Int64(T), Int64(D), F64(wide(y)).pointer, Int64(stride), backward.pointer)
    let expected = [
      Expected("y", forward.values) { _ in 2 * roundoff },
      // T additions of numbers below 1 in magnitude, partial sums below T + 1
      Expected("dbias", backward.values) { _ in Double(T * (T + 1)) * roundoff },
    ]
    checkTables(.exact, expected, "D \(D)") { operations in
      let target = F32(y, misalignment: 1), gradient = F32(old, misalignment: 3)
      unsafe operations.bias_forward(Int64(T), Int64(D), F32(bias).pointer, target.pointer, Int64(stride))
      unsafe operations.bias_backward(Int64(T), Int64(D), F32(y, misalignment: 2).pointer, Int64(stride), gradient.pointer)
      for t in 0..<T { #expect(target.values[t * stride + D..<(t + 1) * stride] == y[t * stride + D..<(t + 1) * stride]) }
      return [target.values, gradient.values]
    }
  }

  @Test(arguments: [1, 8, 31, 64, 100]) func embeddingCopiesRowsAndScattersGradientsInTokenOrder(D: Int) {
    let ids: [Int32] = [3, 0, 3, 3, 6, 0], V = 7, T = ids.count
    let table = Numbers("table").floats(V * D), dy = Numbers("dy").floats(T * D), old = Numbers("old").floats(V * D)
    let gradient = F64(wide(old))
    unsafe ids.withUnsafeBufferPointer {
      unsafe reference.embedding_backward(Int64(T), Int64(D), F64(wide(dy)).pointer, $0.baseAddress, gradient.pointer)
    }
    let expected = [
      Expected("y", ids.flatMap { wide(Array(row(table, Int($0), D))) }) { _ in 0 },
      Expected("dtable", gradient.values) { _ in 12 * roundoff },
    ]
    checkTables(.exact, expected, "D \(D)") { operations in
      let y = F32(zeros: T * D, misalignment: 1), dtable = F32(old, misalignment: 1)
      unsafe ids.withUnsafeBufferPointer {
        unsafe operations.embedding_forward(Int64(T), Int64(D), F32(table).pointer, $0.baseAddress, y.pointer)
        unsafe operations.embedding_backward(Int64(T), Int64(D), F32(dy).pointer, $0.baseAddress, dtable.pointer)
      }
      return [y.values, dtable.values]
    }
  }

  @Test(arguments: sizes, [Float(0), 0.1]) func adamwIsBitEqualEverywhere(n: Int, decay: Float) {
    let steps = 3, learningRate: Float = 1e-2
    let start = Numbers("master").floats(n), gradients = (0..<steps).map { Numbers("g\($0)").floats(n, 3) }
    func correction(_ beta: Float, _ step: Int) -> Float { Float(1 - pow(Double(beta), Double(step + 1))) }
    let master = F64(wide(start)), m = F64(zeros: n), v = F64(zeros: n)
    for step in 0..<steps {
      var k = ck_adamw_f64()
      k.learning_rate = Double(learningRate); k.weight_decay = Double(decay); k.epsilon = Double(Float(1e-8))
      k.beta1 = Double(Float(0.9)); k.beta2 = Double(Float(0.99)); k.gradient_scale = 0.5
      k.correction1 = Double(correction(0.9, step)); k.correction2 = Double(correction(0.99, step))
      unsafe reference.adamw(&k, Int64(n), master.pointer, m.pointer, v.pointer, F64(wide(gradients[step])).pointer)
    }
    // m adds at most 3 terms below 0.15 a step with 4 roundings each; v likewise, and below 2.25. 1 - beta2 itself is
    // rounded where the float table computes it: 1e-2 within half an ulp of 1 is 2^-24 / 1e-2 relative.
    // A step moves the master by lr * mhat / sqrt(vhat) <= 1.2 lr; the relative error of that is below 2^-24 / 1e-2 plus
    // that of m over the square root of v, which for opposed gradients is absolute.
    let expected = [
      Expected("master", master.values) { _ in Double(steps) * (3 * roundoff + Double(learningRate) * 120 * roundoff) },
      Expected("m", m.values) { _ in 20 * roundoff },
      Expected("v", v.values) { _ in 200 * roundoff },
    ]
    checkTables(.exact, expected, "n \(n), decay \(decay)") { operations in
      let master = F32(start, misalignment: 1), m = F32(zeros: n, misalignment: 2), v = F32(zeros: n, misalignment: 3)
      for step in 0..<steps {
        var k = ck_adamw(
          learning_rate: learningRate, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: decay,
          correction1: correction(0.9, step), correction2: correction(0.99, step), gradient_scale: 0.5)
        unsafe operations.adamw(&k, Int64(n), master.pointer, m.pointer, v.pointer, F32(gradients[step]).pointer)
      }
      return [master.values, m.values, v.values]
    }
  }

  @Test func adamwFirstStepIsTheSignOfTheGradient() {
    // With m = v = 0, mhat = g and vhat = g^2: the move is lr * g / (|g| + eps), after the decay.
    for table in KernelTable.available {
      var k = ck_adamw(
        learning_rate: 0.125, beta1: 0.5, beta2: 0.75, epsilon: 0, weight_decay: 0.5, correction1: 0.5,
        correction2: 0.25, gradient_scale: 1)
      let master = F32([1, 1, -2]), m = F32(zeros: 3), v = F32(zeros: 3)
      unsafe table.operations.adamw(&k, 3, master.pointer, m.pointer, v.pointer, F32([2, -4, 8]).pointer)
      #expect(master.values == [0.9375 - 0.125, 0.9375 + 0.125, -1.875 - 0.125])
      #expect(m.values == [1, -2, 4] && v.values == [1, 4, 16])
    }
  }

  @Test(arguments: sizes) func rowSumsOfSquares(columns: Int) {
    let rows = 3, x = Numbers("x").floats(rows * columns, 5)
    func sums(_ operations: ck_operation_table) -> [Double] {
      let sums = F64([Double](repeating: -1, count: rows))
      unsafe operations.row_sums_of_squares(Int64(rows), Int64(columns), F32(x, misalignment: 1).pointer, sums.pointer)
      return sums.values
    }
    let tables = KernelTable.available, scalar = sums(tables.last!.operations)
    for table in tables { #expect(sums(table.operations).map(\.bitPattern) == scalar.map(\.bitPattern)) }
    for r in 0..<rows {
      let plain = row(x, r, columns).reduce(0.0) { $0 + Double($1) * Double($1) }
      #expect(abs(scalar[r] - plain) <= Double(columns) * 0x1p-52 * plain)
    }
  }

  @Test(arguments: sizes) func allFiniteFindsEveryPlace(n: Int) {
    for table in KernelTable.available {
      let x = F32(Numbers("x").floats(n, 3e38), misalignment: 1)
      #expect(unsafe table.operations.all_finite(Int64(n), x.pointer))
      for i in 0..<min(n, 130) {
        for bad in [Float.nan, .infinity, -.infinity] {
          let good = unsafe x.pointer[i]
          unsafe x.pointer[i] = bad
          #expect(!(unsafe table.operations.all_finite(Int64(n), x.pointer)), "\(table.name) \(bad) at \(i) of \(n)")
          unsafe x.pointer[i] = good
        }
      }
    }
  }
}
