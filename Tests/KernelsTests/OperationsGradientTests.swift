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

  /// y = softmax(scale * S) V as attention computes it: p from the forward tile, dP = dy V^T, delta = dy . y.
  @Test(arguments: [0, 2, -1]) func attention(visible: Int) {
    let rows = 4, keys = 6, d = 3, scale = 0.7
    let scores = Numbers("scores").doubles(rows * keys, 2), V = Numbers("v").doubles(keys * d)
    let dy = Numbers("dy").doubles(rows * d)
    func forward(_ scores: [Double]) -> (p: [Double], lse: [Double], y: [Double]) {
      let p = F64(scores), lse = F64(zeros: rows)
      unsafe reference.softmax_causal_forward(
        Int64(rows), Int64(keys), Int64(visible), scale, p.pointer, Int64(keys), lse.pointer)
      let values = p.values
      let y = (0..<rows * d).map { i in (0..<keys).reduce(0.0) { $0 + values[i / d * keys + $1] * V[$1 * d + i % d] } }
      return (values, lse.values, y)
    }
    let (p, lse, y) = forward(scores)
    for r in 0..<rows { #expect(abs(row(p, r, keys).reduce(0, +) - (visible + r < 0 ? 0 : 1)) < 1e-12) }
    let delta = F64(zeros: rows)
    unsafe reference.attention_delta(Int64(rows), 1, Int64(d), F64(y).pointer, F64(dy).pointer, Int64(d), delta.pointer)
    let dp = F64(
      (0..<rows * keys).map { i in (0..<d).reduce(0.0) { $0 + dy[i / keys * d + $1] * V[i % keys * d + $1] } })
    let again = F64(scores)
    unsafe reference.softmax_causal_backward(
      Int64(rows), Int64(keys), Int64(visible), scale, again.pointer, dp.pointer, Int64(keys), F64(lse).pointer, delta.pointer)
    for (a, b) in zip(again.values, p) { #expect(abs(a - b) < 1e-14) }
    expectGradient("dscores", at: scores, is: dp.values) { dot(forward($0).y, dy) }
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
