import Kernels
import Tensors
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Norms, rotations, gates and the embedding's gather against their formulas over doubles.
struct NormTests {
  private static let epsilon: Float = 1e-5

  /// y = x · rstd · gain over rows of x, and its gradients.
  private func norm(_ x: Matrix, _ gain: Matrix, _ dy: Matrix) -> (y: Matrix, rstd: [Double], dx: Matrix, dGain: Matrix) {
    let D = x.columns
    var y = Matrix(x.rows, D), dx = y, dGain = Matrix(1, D), rstd: [Double] = []
    for t in 0..<x.rows {
      let mean = (0..<D).reduce(0) { $0 + x[t, $1] * x[t, $1] } / Double(D)
      let r = 1 / (mean + Double(Self.epsilon)).squareRoot()
      let dot = (0..<D).reduce(0) { $0 + gain[0, $1] * dy[t, $1] * x[t, $1] } / Double(D)
      rstd.append(r)
      for i in 0..<D {
        y[t, i] = x[t, i] * r * gain[0, i]
        dx[t, i] = r * (gain[0, i] * dy[t, i] - x[t, i] * r * r * dot)
        dGain[0, i] += dy[t, i] * x[t, i] * r
      }
    }
    return (y, rstd, dx, dGain)
  }

  @Test(arguments: [(1, 1), (3, 7), (5, 16), (4, 33), (9, 384)])
  func rowNorm(_ T: Int, _ D: Int) {
    let arena = Arena("test")
    let x = Matrix.random(T, D, seed: 1, scale: 3), gain = Matrix.random(1, D, seed: 2), dy = Matrix.random(T, D, seed: 3)
    let expected = norm(x, gain, dy)
    let xt = x.tensor(in: arena), gt = gain.tensor(in: arena)
    var y = poisoned(T, D, in: arena), rstd = poisoned(1, T, in: arena)
    RMSNorm.forward(&y, rstd: &rstd, of: xt, gain: gt, epsilon: Self.epsilon)
    #expect(Matrix(y).distance(to: expected.y) < 1e-6)
    #expect(Matrix(rstd).distance(to: Matrix(1, T) { expected.rstd[$1] }) < 1e-6)

    // Both gradients are added to what is there.
    let before = Matrix.random(T, D, seed: 4), gainBefore = Matrix.random(1, D, seed: 5)
    var dx = before.tensor(in: arena), dGain = gainBefore.tensor(in: arena)
    RMSNorm.backward(dx: &dx, dGain: &dGain, from: dy.tensor(in: arena), input: xt, gain: gt, rstd: rstd)
    #expect(Matrix(dx).distance(to: before + expected.dx) < 1e-6)
    #expect(Matrix(dGain).distance(to: gainBefore + expected.dGain) < 1e-6)
  }

  /// The heads of queries and keys, each with its own rstd, read from one place and written to another.
  @Test func perHeadNorm() {
    let arena = Arena("test"), T = 11, heads = 3, d = 20, from = 5, to = 2, row = 1
    let gain = Matrix.random(1, d, seed: 11)
    let x = Matrix.random(T, from + heads * d + 4, seed: 12), dy = Matrix.random(T, to + heads * d + 1, seed: 13)
    let xt = x.tensor(in: arena), gt = gain.tensor(in: arena)
    var y = Matrix(T, dy.columns) { _, _ in 7 }.tensor(in: arena), rstd = poisoned(heads + 2, T, in: arena)
    RMSNorm.forwardPerHead(
      &y, toColumn: to, rstd: &rstd, rstdRow: row, of: xt, fromColumn: from, heads: heads, gain: gt, epsilon: Self.epsilon)
    let before = Matrix.random(T, x.columns, seed: 14), gainBefore = Matrix.random(1, d, seed: 15)
    var dx = before.tensor(in: arena), dGain = gainBefore.tensor(in: arena)
    RMSNorm.backwardPerHead(
      dx: &dx, fromColumn: from, dGain: &dGain, from: dy.tensor(in: arena), toColumn: to, input: xt, heads: heads,
      gain: gt, rstd: rstd, rstdRow: row)

    let out = Matrix(y), sums = Matrix(rstd), gradient = Matrix(dx)
    var gainGradient = gainBefore
    for h in 0..<heads {
      let read = from + h * d..<from + (h + 1) * d, written = to + h * d..<to + (h + 1) * d
      let expected = norm(x.columns(read), gain, dy.columns(written))
      #expect(out.columns(written).distance(to: expected.y) < 1e-6)
      #expect(sums.rows(row + h..<row + h + 1).distance(to: Matrix(1, T) { expected.rstd[$1] }) < 1e-6)
      #expect(gradient.columns(read).distance(to: before.columns(read) + expected.dx) < 1e-6)
      gainGradient = gainGradient + expected.dGain
    }
    #expect(Matrix(dGain).distance(to: gainGradient) < 1e-6)
    let outside = [out.columns(0..<to), out.columns(to + heads * d..<out.columns)]
    #expect(outside.allSatisfy { $0.values.allSatisfy { $0 == 7 } })
    #expect(gradient.columns(0..<from).values == before.columns(0..<from).values)
  }

  /// Row t stands at (first + t) mod period; pairs are (i, i + d/2).
  @Test(arguments: [(0, 6), (0, 13), (4, 40)])
  func rotation(_ first: Int, _ period: Int) {
    let arena = Arena("test"), T = 13, heads = 3, d = 10, column = 4
    let angles = Matrix(first + T, d / 2) { Double($0) * pow(50, -2 * Double($1) / Double(d)) }
    let cosines = Matrix(angles.rows, d / 2) { cos(angles[$0, $1]) }.tensor(in: arena)
    let sines = Matrix(angles.rows, d / 2) { sin(angles[$0, $1]) }.tensor(in: arena)
    let x = Matrix.random(T, column + heads * d + 3, seed: 21)
    var expected = x
    for t in 0..<T {
      for h in 0..<heads {
        for i in 0..<d / 2 {
          let a = column + h * d + i, b = a + d / 2, angle = angles[(first + t) % period, i]
          expected[t, a] = x[t, a] * cos(angle) - x[t, b] * sin(angle)
          expected[t, b] = x[t, b] * cos(angle) + x[t, a] * sin(angle)
        }
      }
    }
    var y = x.tensor(in: arena)
    func rotate(_ direction: RotaryEmbedding.Direction) {
      RotaryEmbedding.apply(
        &y, column: column, heads: heads, cosines: cosines, sines: sines, first: first, period: period,
        direction: direction)
    }
    rotate(.forward)
    #expect(Matrix(y).distance(to: expected) < 1e-6)
    // Orthogonal: the backward undoes the forward.
    rotate(.backward)
    #expect(Matrix(y).distance(to: x) < 1e-6)
  }

  @Test(arguments: [1, 7, 16, 33, 172])
  func gate(_ F: Int) {
    let arena = Arena("test"), T = 5
    let x = Matrix.random(T, 2 * F, seed: 31, scale: 3), dy = Matrix.random(T, F, seed: 32)
    let y = Matrix(T, F) { x[$0, $1] / (1 + exp(-x[$0, $1])) * x[$0, F + $1] }
    let dx = Matrix(T, 2 * F) { t, i in
      let gate = x[t, i % F], up = x[t, F + i % F], sigmoid = 1 / (1 + exp(-gate))
      return i < F ? dy[t, i] * up * (sigmoid + gate * sigmoid * (1 - sigmoid)) : dy[t, i - F] * gate * sigmoid
    }
    let xt = x.tensor(in: arena)
    var out = poisoned(T, F, in: arena), dIn = poisoned(T, 2 * F, in: arena)
    SwiGLU.forward(&out, of: xt)
    SwiGLU.backward(&dIn, from: dy.tensor(in: arena), input: xt)
    #expect(Matrix(out).distance(to: y) < 1e-6)
    #expect(Matrix(dIn).distance(to: dx) < 1e-6)
  }

  @Test func embedding() {
    let arena = Arena("test"), V = 6, D = 9
    let ids: [Int32] = [5, 0, 3, 5, 5, 1]
    let table = Matrix.random(V, D, seed: 41), dy = Matrix.random(ids.count, D, seed: 42)
    var y = poisoned(ids.count, D, in: arena)
    Embedding.forward(&y, of: buffer(ids, in: arena), table: table.tensor(in: arena))
    #expect(Matrix(y).values == Matrix(ids.count, D) { table[Int(ids[$0]), $1] }.values)

    var gradient = Matrix(V, D)
    for (t, id) in ids.enumerated() { for i in 0..<D { gradient[Int(id), i] += dy[t, i] } }
    var dTable = poisoned(V, D, in: arena)
    Embedding.backward(&dTable, from: dy.tensor(in: arena), ids: buffer(ids, in: arena), output: .overwrite)
    #expect(Matrix(dTable).distance(to: gradient) < 1e-6)
    Embedding.backward(&dTable, from: dy.tensor(in: arena), ids: buffer(ids, in: arena), output: .accumulate)
    #expect(Matrix(dTable).distance(to: gradient + gradient) < 1e-6)
  }
}
