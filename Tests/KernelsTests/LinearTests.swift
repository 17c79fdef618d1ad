import Kernels
import Tensors
import Testing

/// y = x Wᵀ + b and its gradients against sums of doubles.
struct LinearTests {
  /// (T, K, N) around vector widths and blocks of the product.
  static let shapes = [(1, 1, 1), (1, 7, 3), (5, 1, 9), (2, 64, 64), (17, 33, 65), (130, 96, 40), (64, 300, 129)]

  @Test(arguments: shapes)
  func forwardAndBackward(_ T: Int, _ K: Int, _ N: Int) {
    let arena = Arena("test")
    let x = Matrix.random(T, K, seed: 1), weight = Matrix.random(N, K, seed: 2), dy = Matrix.random(T, N, seed: 3)
    let xt = x.tensor(in: arena), wt = weight.tensor(in: arena), dyt = dy.tensor(in: arena)
    let y = x * weight.transposed, dx = dy * weight, dWeight = dy.transposed * x

    var out = poisoned(T, N, in: arena)
    Linear.forward(&out, of: xt, weight: wt)
    #expect(Matrix(out).distance(to: y) < 1e-6)
    Linear.forward(&out, of: xt, weight: wt, output: .accumulate)
    #expect(Matrix(out).distance(to: y + y) < 1e-6)

    var dIn = poisoned(T, K, in: arena)
    Linear.backwardInput(&dIn, from: dyt, weight: wt)
    #expect(Matrix(dIn).distance(to: dx) < 1e-6)
    Linear.backwardInput(&dIn, from: dyt, weight: wt, output: .accumulate)
    #expect(Matrix(dIn).distance(to: dx + dx) < 1e-6)

    var dW = poisoned(N, K, in: arena)
    Linear.backwardWeight(&dW, from: dyt, input: xt)
    #expect(Matrix(dW).distance(to: dWeight) < 1e-6)
    Linear.backwardWeight(&dW, from: dyt, input: xt, output: .accumulate)
    #expect(Matrix(dW).distance(to: dWeight + dWeight) < 1e-6)
  }

  @Test(arguments: shapes)
  func bias(_ T: Int, _ K: Int, _ N: Int) {
    let arena = Arena("test")
    let bias = Matrix.random(1, N, seed: 4), y = Matrix.random(T, N, seed: 5)
    var out = y.tensor(in: arena)
    Linear.addBias(&out, bias: bias.tensor(in: arena))
    #expect(Matrix(out).distance(to: Matrix(T, N) { y[$0, $1] + bias[0, $1] }) < 1e-7)

    var dBias = poisoned(1, N, in: arena)
    Linear.backwardBias(&dBias, from: y.tensor(in: arena))
    #expect(Matrix(dBias).distance(to: Matrix(1, T) { _, _ in 1 } * y) < 1e-6)
  }

  /// A layer's views lie side by side in one buffer: a product writes its own rows and nothing beside them.
  @Test func productsStayInsideTheirRegion() {
    let arena = Arena("test")
    let x = Matrix.random(9, 20, seed: 6), dy = Matrix.random(9, 11, seed: 8)
    let flat = Matrix(1, 3 * 11 * 20) { _, _ in 0.5 }.tensor(in: arena)
    var middle = flat.region(11 * 20, rows: 11, columns: 20)
    Linear.backwardWeight(&middle, from: dy.tensor(in: arena), input: x.tensor(in: arena))
    let after = Matrix(flat)
    #expect(after.columns(0..<220).values.allSatisfy { $0 == 0.5 })
    #expect(after.columns(440..<660).values.allSatisfy { $0 == 0.5 })
    #expect(Matrix(middle).distance(to: dy.transposed * x) < 1e-6)
  }
}
