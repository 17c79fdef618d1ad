import Kernels
import Tensors
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// The update and the norm that clips it, against their formulas over doubles.
struct AdamWTests {
  @Test(arguments: [true, false])
  func severalSteps(decays: Bool) {
    let arena = Arena("test"), count = 77, range = 5..<70
    let lr = 1e-2, beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, decay = 0.1, clip = 0.5
    var w = Matrix.random(1, count, seed: 1), m = Matrix(1, count), v = Matrix(1, count)
    let start = w
    var wt = w.tensor(in: arena), mt = m.tensor(in: arena), vt = v.tensor(in: arena)
    for step in 1...7 {
      let gradient = Matrix.random(1, count, seed: UInt64(10 + step))
      for i in range {
        let g = gradient[0, i] * clip
        m[0, i] = beta1 * m[0, i] + (1 - beta1) * g
        v[0, i] = beta2 * v[0, i] + (1 - beta2) * g * g
        let mhat = m[0, i] / (1 - pow(beta1, Double(step))), vhat = v[0, i] / (1 - pow(beta2, Double(step)))
        w[0, i] = w[0, i] * (decays ? 1 - lr * decay : 1) - lr * mhat / (vhat.squareRoot() + epsilon)
      }
      AdamW(
        learningRate: Float(lr), beta1: Float(beta1), beta2: Float(beta2), epsilon: Float(epsilon),
        weightDecay: Float(decay), step: step, gradientScale: Float(clip)
      ).update(master: &wt, m: &mt, v: &vt, gradient: gradient.tensor(in: arena), range: range, decays: decays)
    }
    #expect(Matrix(wt).distance(to: w) < 1e-6)
    #expect(Matrix(mt).distance(to: m) < 1e-6)
    #expect(Matrix(vt).distance(to: v) < 1e-6)
    let after = Matrix(wt)
    #expect(after.columns(0..<5).values == start.columns(0..<5).values, "elements outside of the range stay")
    #expect(after.columns(70..<77).values == start.columns(70..<77).values)
    #expect((after - w).norm < 1e-3 * (start - w).norm, "the steps move the weights, and the same way")
  }

  /// A zero gradient and no history: nothing but the decay moves the weight, and nothing divides by zero.
  @Test func zeroGradient() {
    let arena = Arena("test"), w = Matrix.random(1, 40, seed: 2)
    var wt = w.tensor(in: arena), m = Matrix(1, 40).tensor(in: arena), v = Matrix(1, 40).tensor(in: arena)
    let update = AdamW(
      learningRate: 0.5, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.5, step: 1, gradientScale: 1)
    update.update(
      master: &wt, m: &m, v: &v, gradient: Matrix(1, 40).tensor(in: arena), range: 0..<40, decays: true)
    #expect(Matrix(wt).distance(to: Matrix(1, 40) { 0.75 * w[$0, $1] }) < 1e-7)
    #expect(Matrix(v).values.allSatisfy { $0 == 0 })
  }

  @Test func rowSums() {
    let arena = Arena("test"), rows = 5, columns = 67, offset = 9
    let x = Matrix.random(1, offset + rows * columns + 3, seed: 3, scale: 100)
    var sums = HostBuffer<Double>(count: rows + 4, in: arena)
    for i in 0..<sums.count { sums[i] = -1 }
    GradientNorm.rowSums(of: x.tensor(in: arena), at: offset, rows: rows, columns: columns, into: &sums, at: 2)
    for row in 0..<rows {
      let expected = (0..<columns).reduce(0) { $0 + x[0, offset + row * columns + $1] * x[0, offset + row * columns + $1] }
      #expect(abs(sums[2 + row] - expected) <= 1e-13 * expected)
    }
    #expect([sums[0], sums[1], sums[7], sums[8]] == [-1, -1, -1, -1])
  }
}
