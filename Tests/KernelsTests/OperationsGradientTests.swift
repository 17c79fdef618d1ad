import CKernels
import Kernels
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Every backward against central differences of its forward, in double.
@Suite(.keepsOperands) struct OperationsGradientTests {
  /// Central differences with step h err by h^2 f''' / 6 (some 1e-10 for these functions) and roundoff of f over h.
  private func expectGradient(
    _ name: String, at x: [Double], is gradient: [Double], sourceLocation: SourceLocation = #_sourceLocation,
    of value: ([Double]) -> Double
  ) {
    #expect(x.count == gradient.count, sourceLocation: sourceLocation)
    let largest = gradient.map(abs).max() ?? 0
    #expect(largest > 0, "\(name): a gradient of nothing but zeros checks nothing", sourceLocation: sourceLocation)
    let step = 1e-5
    for i in x.indices {
      var up = x, down = x
      up[i] += step
      down[i] -= step
      let slope = (value(up) - value(down)) / (up[i] - down[i])
      #expect(
        abs(slope - gradient[i]) <= 1e-7 * max(1, largest), "\(name)[\(i)]: difference \(slope), backward \(gradient[i])",
        sourceLocation: sourceLocation)
    }
  }

  private func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

  @Test func rmsNorm() {
    let T = 3, D = 7, x = Numbers("x").doubles(T * D), gain = Numbers("gain").doubles(D), dy = Numbers("dy").doubles(T * D)
    func forward(_ x: [Double], _ gain: [Double]) -> (y: [Double], rstd: [Double]) {
      let y = F64(zeros: T * D), rstd = F64(zeros: T)
      unsafe reference.rms_norm_forward(
        Int64(T), Int64(D), 1e-3, F64(x).pointer, Int64(D), F64(gain).pointer, y.pointer, Int64(D), rstd.pointer)
      return (y.values, rstd.values)
    }
    let dx = F64(zeros: T * D), dgain = F64(zeros: D)
    unsafe reference.rms_norm_backward(
      Int64(T), Int64(D), F64(x).pointer, Int64(D), F64(gain).pointer, F64(forward(x, gain).rstd).pointer, F64(dy).pointer,
      Int64(D), dx.pointer, dgain.pointer)
    expectGradient("dx", at: x, is: dx.values) { dot(forward($0, gain).y, dy) }
    expectGradient("dgain", at: gain, is: dgain.values) { dot(forward(x, $0).y, dy) }
  }

  @Test func rope() {
    let T = 4, H = 2, d = 6, x = Numbers("x").doubles(T * H * d), dy = Numbers("dy").doubles(T * H * d)
    let angles = Numbers("angle").doubles(3 * d / 2, 3)
    func turn(_ x: [Double], _ direction: Int32) -> [Double] {
      let y = F64(x)
      unsafe reference.rope(
        Int64(T), Int64(H), Int64(d), y.pointer, Int64(H * d), F64(angles.map { cos($0) }).pointer,
        F64(angles.map { sin($0) }).pointer, 1, 3, direction)
      return y.values
    }
    expectGradient("dx", at: x, is: turn(dy, -1)) { dot(turn($0, 1), dy) }
  }

  @Test func swiglu() {
    let n = 12, gate = Numbers("gate").doubles(n, 4), up = Numbers("up").doubles(n), dy = Numbers("dy").doubles(n)
    func forward(_ gate: [Double], _ up: [Double]) -> [Double] {
      let y = F64(zeros: n)
      unsafe reference.swiglu_forward(Int64(n), F64(gate).pointer, F64(up).pointer, y.pointer)
      return y.values
    }
    let dgate = F64(zeros: n), dup = F64(zeros: n)
    unsafe reference.swiglu_backward(
      Int64(n), F64(gate).pointer, F64(up).pointer, F64(dy).pointer, dgate.pointer, dup.pointer)
    expectGradient("dgate", at: gate, is: dgate.values) { dot(forward($0, up), dy) }
    expectGradient("dup", at: up, is: dup.values) { dot(forward(gate, $0), dy) }
  }

  /// Two query heads that share a key head.
  @Test func attention() {
    let S = 5, H = 2, d = 3, scale = 0.7
    let q = Numbers("q").doubles(S * H * d, 2), k = Numbers("k").doubles(S * d, 2), v = Numbers("v").doubles(S * d)
    let dy = Numbers("dy").doubles(S * H * d)
    // k in rows as wide as those of q: both have one stride.
    func widened(_ k: [Double]) -> [Double] { (0..<S * H * d).map { $0 % (H * d) < d ? k[$0 / (H * d) * d + $0 % (H * d)] : 7 } }
    func forward(_ q: [Double], _ k: [Double], _ v: [Double]) -> (y: [Double], lse: [Double]) {
      let y = F64(zeros: S * H * d), lse = F64(zeros: H * S), queries = F64(q)
      for h in 0..<H {
        unsafe reference.attention_forward(
          Int64(S), Int64(d), scale, queries.pointer + h * d, F64(widened(k)).pointer, Int64(H * d), F64(v).pointer,
          Int64(d), y.pointer + h * d, Int64(H * d), lse.pointer + h * S, F64(zeros: S).pointer)
      }
      return (y.values, lse.values)
    }
    let (y, lse) = forward(q, k, v), delta = F64(zeros: S * H)
    unsafe reference.attention_delta(Int64(S), Int64(H), Int64(d), F64(y).pointer, F64(dy).pointer, Int64(H * d), delta.pointer)
    let dq = F64(zeros: S * H * d), dk = F64(zeros: S * H * d), dv = F64(zeros: S * d)
    unsafe reference.attention_backward(
      Int64(S), Int64(H), Int64(d), scale, F64(q).pointer, F64(widened(k)).pointer, Int64(H * d), F64(v).pointer, Int64(d),
      F64(dy).pointer, Int64(H * d), F64(lse).pointer, delta.pointer, Int64(H), dq.pointer, dk.pointer, Int64(H * d),
      dv.pointer, Int64(d), F64(zeros: S).pointer)
    let dkRows = dk.values
    expectGradient("dq", at: q, is: dq.values) { dot(forward($0, k, v).y, dy) }
    expectGradient("dk", at: k, is: (0..<S * d).map { dkRows[$0 / d * H * d + $0 % d] }) { dot(forward(q, $0, v).y, dy) }
    expectGradient("dv", at: v, is: dv.values) { dot(forward(q, k, $0).y, dy) }
  }

  @Test func crossEntropy() {
    let targets: [Int32] = [2, -1, 0], T = 3, V = 5, scale = 0.6, logits = Numbers("z").doubles(T * V, 3)
    func run(_ logits: [Double], gradient: Bool) -> (logits: [Double], loss: Double) {
      let x = F64(logits), loss = F64(zeros: T)
      unsafe targets.withUnsafeBufferPointer {
        unsafe reference.cross_entropy(Int64(T), Int64(V), x.pointer, $0.baseAddress, scale, gradient, loss.pointer)
      }
      return (x.values, loss.values.reduce(0, +) * scale)
    }
    expectGradient("dlogits", at: logits, is: run(logits, gradient: true).logits) { run($0, gradient: false).loss }
  }

  @Test(arguments: [(0.0, 1.0, 1.0), (0.0, 1.0, 3.0), (0.3, 0.7, 2.0), (1.0, 0.0, 1.0)])
  func distillation(hard: Double, soft: Double, temperature: Double) {
    let targets: [Int32] = [2, -1, 0], T = 3, V = 5, scale = 0.6
    let student = Numbers("student").doubles(T * V, 3), teacher = Numbers("teacher").doubles(T * V, 3)
    func run(_ student: [Double]) -> (gradient: [Double], loss: Double) {
      let x = F64(student), loss = F64(zeros: T)
      unsafe targets.withUnsafeBufferPointer {
        unsafe reference.distillation(
          Int64(T), Int64(V), x.pointer, F64(teacher).pointer, $0.baseAddress, scale, hard, soft, temperature, loss.pointer)
      }
      return (x.values, loss.values.reduce(0, +) * scale)
    }
    expectGradient("dstudent", at: student, is: run(student).gradient) { run($0).loss }
  }

  @Test func embeddingAndBias() {
    let ids: [Int32] = [1, 3, 1], T = 3, D = 4, V = 4
    let table = Numbers("table").doubles(V * D), bias = Numbers("bias").doubles(D), dy = Numbers("dy").doubles(T * D)
    func forward(_ table: [Double], _ bias: [Double]) -> [Double] {
      let y = F64(zeros: T * D)
      unsafe ids.withUnsafeBufferPointer {
        unsafe reference.embedding_forward(Int64(T), Int64(D), F64(table).pointer, $0.baseAddress, y.pointer)
      }
      unsafe reference.bias_forward(Int64(T), Int64(D), F64(bias).pointer, y.pointer, Int64(D))
      return y.values
    }
    let dtable = F64(zeros: V * D), dbias = F64(zeros: D)
    unsafe ids.withUnsafeBufferPointer {
      unsafe reference.embedding_backward(Int64(T), Int64(D), F64(dy).pointer, $0.baseAddress, dtable.pointer)
    }
    unsafe reference.bias_backward(Int64(T), Int64(D), F64(dy).pointer, Int64(D), dbias.pointer)
    expectGradient("dtable", at: table, is: dtable.values) { dot(forward($0, bias), dy) }
    expectGradient("dbias", at: bias, is: dbias.values) { dot(forward(table, $0), dy) }
  }
}
