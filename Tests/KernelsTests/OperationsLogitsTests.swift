import CKernels
import Kernels
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Softmax of one row in double, with what the tolerances of sums over it need.
private struct Softmax {
  let shifted: [Double]
  let p: [Double]
  /// Mean of |x - max| under p: each exponent carries a rounding of its own size.
  let meanShift: Double

  init(_ x: some Sequence<Float>, temperature: Double = 1) {
    let raw = x.map { Double($0) / temperature }, most = raw.max() ?? 0
    shifted = raw.map { $0 - most }
    let e = shifted.map { exp($0) }, sum = e.reduce(0, +)
    p = e.map { $0 / sum }
    meanShift = zip(p, shifted).reduce(0) { $0 + $1.0 * abs($1.1) }
  }

  /// Relative error of a sum of exponentials, in roundoffs: exponents (the difference, and the product with the inverse
  /// temperature, itself rounded), exp 2, 32 additions in a float lane, double afterwards.
  var sumBound: Double { 3 * meanShift + 40 }
  func bound(_ i: Int) -> Double { p[i] * (3 * abs(shifted[i]) + sumBound + 8) }
}

/// Roundoffs of a divergence computed as sum of p (a - b) + log sum - log sum.
private func divergenceBound(_ p: Softmax, _ q: Softmax) -> Double {
  var bound = p.sumBound + q.sumBound
  for i in p.p.indices {
    let difference = abs(p.shifted[i] - q.shifted[i])
    bound += p.p[i] * (difference * (3 * abs(p.shifted[i]) + p.sumBound + 40) + 3 * (abs(p.shifted[i]) + abs(q.shifted[i])))
  }
  return bound
}

@Suite(.keepsOperands) struct OperationsLogitsTests {
  static let widths = Array(1...33) + [100, 511, 512, 513, 1055, 40_001]

  private func targets(_ V: Int) -> [Int32] { [0, Int32(V - 1), -1, Int32(V / 2)] }

  @Test(arguments: widths) func crossEntropy(V: Int) {
    let targets = targets(V), T = targets.count, scale: Float = 0.37
    let logits = Numbers("logits").floats(T * V, 8)
    let gradient = F64(wide(logits)), loss = F64(zeros: T)
    unsafe targets.withUnsafeBufferPointer {
      unsafe reference.cross_entropy(Int64(T), Int64(V), gradient.pointer, $0.baseAddress, Double(scale), true, loss.pointer)
    }
    let rows = (0..<T).map { Softmax(row(logits, $0, V)) }, slopes = gradient.values, losses = loss.values
    #expect(losses[2] == 0 && row(slopes, 2, V).allSatisfy { $0 == 0 })
    let expected = Expected("gradient", slopes) { i in
      let (t, k) = (i / V, i % V)
      if targets[t] < 0 { return 0 }
      let hit = k == Int(targets[t]) ? 4.0 : 0
      return Double(scale) * roundoff * (rows[t].bound(k) + hit) + leastFloat
    }
    func run(_ operations: ck_operation_table, gradient: Bool) -> (logits: [Float], loss: [Double]) {
      let x = F32(logits, misalignment: 1), loss = F64([Double](repeating: -1, count: T))
      unsafe targets.withUnsafeBufferPointer {
        unsafe operations.cross_entropy(Int64(T), Int64(V), x.pointer, $0.baseAddress, scale, gradient, loss.pointer)
      }
      for t in 0..<T { #expect(abs(loss.values[t] - losses[t]) <= roundoff * rows[t].sumBound, "V \(V) row \(t)") }
      return (x.values, loss.values)
    }
    checkTables(.sum, [expected], "V \(V)") { [run($0, gradient: true).logits] }
    expectSameDoubles("loss, V \(V)") { operations in
      let (untouched, loss) = run(operations, gradient: false)
      #expect(untouched == logits && run(operations, gradient: true).loss == loss)
      return loss
    }
  }

  /// AVX2 and AVX-512 give the same double.
  private func expectSameDoubles(_ context: String, _ run: (ck_operation_table) -> [Double]) {
    let fast = KernelTable.available.filter { $0.name != "scalar" }.map { run($0.operations).map(\.bitPattern) }
    for other in fast.dropFirst() { #expect(other == fast[0], "\(context)") }
  }

  @Test(arguments: [Float.nan, .infinity], [0, 5, 17, 39]) func aNaNIsNeverSilentlyFinite(bad: Float, place: Int) {
    let V = 40
    var logits = Numbers("logits").floats(3 * V, 5)
    logits[V + place] = bad
    for table in KernelTable.available {
      let operations = table.operations
      let targets: [Int32] = [3, 17, -1]
      for gradient in [false, true] {
        let loss = F64(zeros: 3), x = F32(logits)
        unsafe targets.withUnsafeBufferPointer {
          unsafe operations.cross_entropy(3, Int64(V), x.pointer, $0.baseAddress, 1, gradient, loss.pointer)
        }
        #expect(loss.values[0].isFinite && loss.values[1].isNaN && loss.values[2] == 0, "\(table.name)")
        if gradient { #expect(row(x.values, 1, V).contains { $0.isNaN } && row(x.values, 0, V).allSatisfy { $0.isFinite }) }
      }
      let clean = Numbers("clean").floats(3 * V, 5)
      for (student, teacher) in [(logits, clean), (clean, logits)] {
        for hard: Float in [0, 0.5] {
          let loss = F64(zeros: 3)
          unsafe targets.withUnsafeBufferPointer {
            unsafe operations.distillation(
              3, Int64(V), F32(student).pointer, F32(teacher).pointer, $0.baseAddress, 1, hard, 0.5, 2, loss.pointer)
          }
          #expect(loss.values[0].isFinite && loss.values[1].isNaN && loss.values[2] == 0, "\(table.name)")
        }
        let kl = F64(zeros: 3), same = SameTop(3)
        unsafe operations.compare_logits(3, Int64(V), F32(student).pointer, F32(teacher).pointer, kl.pointer, same.pointer)
        #expect(kl.values[1].isNaN && same.values[1] == 0 && kl.values[0].isFinite && kl.values[2].isFinite)
      }
    }
  }

  @Test func aMaskedLogitCostsNothingAndCannotBeATarget() {
    for table in KernelTable.available {
      let loss = F64(zeros: 2), x = F32([0, 0, -.infinity, 0, 0, -.infinity]), targets: [Int32] = [1, 2]
      unsafe targets.withUnsafeBufferPointer {
        unsafe table.operations.cross_entropy(2, 3, x.pointer, $0.baseAddress, 1, true, loss.pointer)
      }
      #expect(abs(loss.values[0] - log(2)) < 1e-12 && loss.values[1] == .infinity)
      #expect(x.values == [0.5, -0.5, 0, 0.5, 0.5, -1])
    }
  }

  @Test(arguments: widths, [(Float(0), Float(1)), (0.4, 1), (0.4, 2), (0, 0.7)])
  func distillation(V: Int, weights: (hard: Float, temperature: Float)) {
    let targets = targets(V), T = targets.count, (hard, temperature) = weights, soft: Float = 0.8, scale: Float = 0.25
    let student = Numbers("student").floats(T * V, 6), teacher = Numbers("teacher").floats(T * V, 6)
    let x = F64(wide(student)), loss = F64(zeros: T)
    unsafe targets.withUnsafeBufferPointer {
      unsafe reference.distillation(
        Int64(T), Int64(V), x.pointer, F64(wide(teacher)).pointer, $0.baseAddress, Double(scale), Double(hard),
        Double(soft), Double(temperature), loss.pointer)
    }
    let tau = Double(temperature), losses = loss.values
    let hards = (0..<T).map { Softmax(row(student, $0, V)) }
    let students = (0..<T).map { Softmax(row(student, $0, V), temperature: tau) }
    let teachers = (0..<T).map { Softmax(row(teacher, $0, V), temperature: tau) }
    let lossBounds = (0..<T).map { t in
      roundoff * (Double(hard) * hards[t].sumBound + Double(soft) * tau * tau * divergenceBound(teachers[t], students[t]))
    }
    let expected = Expected("gradient", x.values) { i in
      let (t, k) = (i / V, i % V)
      if targets[t] < 0 { return 0 }
      let bound = Double(hard) * (hards[t].bound(k) + (k == Int(targets[t]) ? 4 : 0))
        + Double(soft) * tau * (teachers[t].bound(k) + students[t].bound(k))
      return Double(scale) * roundoff * bound + leastFloat * 8
    }
    checkTables(.sum, [expected], "V \(V), \(weights)") { operations in
      let x = F32(student, misalignment: 1), loss = F64([Double](repeating: -1, count: T))
      unsafe targets.withUnsafeBufferPointer {
        unsafe operations.distillation(
          Int64(T), Int64(V), x.pointer, F32(teacher, misalignment: 2).pointer, $0.baseAddress, scale, hard, soft,
          temperature, loss.pointer)
      }
      for t in 0..<T where targets[t] >= 0 {
        #expect(abs(loss.values[t] - losses[t]) <= lossBounds[t], "V \(V), \(weights), row \(t)")
      }
      #expect(loss.values[2] == 0)
      return [x.values]
    }
  }

  /// T15 of the formats reference.
  @Test func distillationNumbers() {
    let teacher: [Float] = [Float(log(3.0)), 0], targets: [Int32] = [0]
    for table in KernelTable.available {
      for (temperature, expected) in [(Float(1), 0.130812), (2, 0.145363)] {
        let loss = F64(zeros: 1), student = F32([0, 0])
        unsafe targets.withUnsafeBufferPointer {
          unsafe table.operations.distillation(
            1, 2, student.pointer, F32(teacher).pointer, $0.baseAddress, 1, 0, 1, temperature, loss.pointer)
        }
        #expect(abs(loss.values[0] - expected) < 1e-6, "\(table.name) T \(temperature): \(loss.values[0])")
        if temperature == 1 { #expect(abs(student.values[0] + 0.25) < 1e-7 && abs(student.values[1] - 0.25) < 1e-7) }
      }
    }
  }

  @Test(arguments: widths) func compareLogits(V: Int) {
    let T = 3, first = Numbers("first").floats(T * V, 6)
    var second = zip(first, Numbers("noise").floats(T * V, 0.5)).map { $0 + $1 }
    for k in 0..<V { second[2 * V + k] = first[2 * V + k] }  // one row is the same
    let kl = F64(zeros: T), same = SameTop(T)
    unsafe reference.compare_logits(
      Int64(T), Int64(V), F64(wide(first)).pointer, F64(wide(second)).pointer, kl.pointer, same.pointer)
    let want = kl.values, wantSame = same.values
    #expect(wantSame[2] == 1 && want[2] == 0)
    for t in 0..<T {
      #expect((wantSame[t] == 1) == (row(first, t, V).argmax == row(second, t, V).argmax))
    }
    let bounds = (0..<T).map { roundoff * divergenceBound(Softmax(row(first, $0, V)), Softmax(row(second, $0, V))) }
    for table in KernelTable.available {
      let kl = F64(zeros: T), same = SameTop(T)
      unsafe table.operations.compare_logits(
        Int64(T), Int64(V), F32(first, misalignment: 1).pointer, F32(second).pointer, kl.pointer, same.pointer)
      for t in 0..<T { #expect(abs(kl.values[t] - want[t]) <= bounds[t], "\(table.name) V \(V) row \(t)") }
      #expect(same.values == wantSame, "\(table.name) V \(V)")
    }
    expectSameDoubles("kl, V \(V)") { operations in
      let kl = F64(zeros: T), same = SameTop(T)
      unsafe operations.compare_logits(Int64(T), Int64(V), F32(first).pointer, F32(second).pointer, kl.pointer, same.pointer)
      return kl.values
    }
  }

  @Test func theFirstOfEqualLogitsIsOnTop() {
    for table in KernelTable.available {
      let a = F32([1, 5, 5, 0]), b = F32([0, 2, 1, 2]), c = F32([0, 1, 2, 2]), kl = F64(zeros: 1), same = SameTop(1)
      unsafe table.operations.compare_logits(1, 4, a.pointer, b.pointer, kl.pointer, same.pointer)
      #expect(same.values == [1])
      unsafe table.operations.compare_logits(1, 4, a.pointer, c.pointer, kl.pointer, same.pointer)
      #expect(same.values == [0])
    }
  }
}

/// The flags of compare_logits.
@safe private final class SameTop {
  private let flags: UnsafeMutableBufferPointer<UInt8>
  init(_ count: Int) {
    unsafe flags = .allocate(capacity: count)
    unsafe flags.initialize(repeating: 7)
  }
  deinit { unsafe flags.deallocate() }
  var pointer: UnsafeMutablePointer<UInt8> { unsafe flags.baseAddress! }
  var values: [UInt8] { unsafe Array(flags) }
}

extension ArraySlice<Float> {
  /// The first place of the largest element.
  fileprivate var argmax: Int { indices.max { self[$0] < self[$1] || (self[$0] == self[$1] && $0 > $1) }! - startIndex }
}
