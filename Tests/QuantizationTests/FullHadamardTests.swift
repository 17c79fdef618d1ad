import Kernels
import Quantization
import Tensors
import Testing

/// The full-width transform over tensors against H_K ⊗ H_P written out, and against itself.
@Suite struct FullHadamardTests {
  static func rotation(_ size: Int, seed: UInt64? = nil) -> FullHadamard {
    let factors = HadamardSize(size)!
    let signs = seed.map { RotationSigns(seed: $0, stream: "test").masks(count: size) } ?? []
    return FullHadamard(matrix: factors.matrix.entries, order: factors.order, power: factors.power, signs: signs)
  }

  /// R, (size, size), from its definition.
  static func dense(_ size: Int, seed: UInt64? = nil) -> DoubleMatrix {
    let factors = HadamardSize(size)!, matrix = factors.matrix, power = factors.power
    let signs = seed.map { RotationSigns(seed: $0, stream: "test").masks(count: size) }
    let scale = 1 / Double(size).squareRoot()
    return DoubleMatrix(size, size) { i, j in
      let sylvester = (i % power & j % power).nonzeroBitCount % 2 == 0 ? 1.0 : -1.0
      let sign = signs.map { $0[i] == 0 ? 1.0 : -1.0 } ?? 1
      return sign * Double(matrix[i / power, j / power]) * sylvester * scale
    }
  }

  /// T1 and the definition: rows become x R, columns Rᵀ x, inverses x Rᵀ and R x.
  @Test(arguments: [1, 2, 16, 64, 256, 12, 20, 24, 28, 40, 44, 52, 60, 76, 100, 116, 172, 80, 96, 576])
  func isTheMatrixOfTheDefinition(_ size: Int) {
    let arena = Arena("test")
    for seed in [nil, 9] as [UInt64?] {
      let rotation = Self.rotation(size, seed: seed), r = Self.dense(size, seed: seed)
      #expect(DoubleMatrix.dots(r, r).distance(to: DoubleMatrix(size, size) { $0 == $1 ? 1 : 0 }) < 1e-13)
      var scratch = Tensor(rows: 1, columns: rotation.scratchCount, in: arena)
      for inverse in [false, true] {
        // 70 columns: a strip of 64 and a tail that is no multiple of 8.
        let rows = DoubleMatrix.gaussian(3, size, seed: 1, stream: "rows")
        let columns = DoubleMatrix.gaussian(size, 70, seed: 1, stream: "columns")
        var x = rows.tensor(in: arena), y = columns.tensor(in: arena)
        rotation.rotateRows(&x, inverse: inverse, scratch: &scratch)
        rotation.rotateColumns(&y, inverse: inverse, scratch: &scratch)
        // dots(a, b) is a bᵀ.
        #expect(DoubleMatrix(x).distance(to: .dots(rows, inverse ? r : r.transposed)) < 1e-6)
        #expect(DoubleMatrix(y).distance(to: .dots(inverse ? r : r.transposed, columns.transposed)) < 1e-6)
      }
    }
  }

  /// T2; and rows and columns agree to the bit.
  @Test(arguments: [
    16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 12, 20, 28, 44, 60, 76, 52, 172, 768, 1536, 4864, 11008,
  ])
  func theInverseUndoes(_ size: Int) {
    let arena = Arena("test")
    for seed in [nil, 9] as [UInt64?] {
      let rotation = Self.rotation(size, seed: seed)
      var scratch = Tensor(rows: 1, columns: rotation.scratchCount, in: arena)
      let rows = DoubleMatrix.gaussian(5, size, seed: 2, stream: "rows")
      var x = rows.tensor(in: arena), y = rows.transposed.tensor(in: arena)
      rotation.rotateRows(&x, scratch: &scratch)
      rotation.rotateColumns(&y, scratch: &scratch)
      let rotated = DoubleMatrix(x)
      #expect(rotated.values == DoubleMatrix(y).transposed.values)
      #expect(abs(rotated.norm / DoubleMatrix(rows.tensor(in: arena)).norm - 1) < 1e-6)
      rotation.rotateRows(&x, inverse: true, scratch: &scratch)
      rotation.rotateColumns(&y, inverse: true, scratch: &scratch)
      #expect(DoubleMatrix(x).distance(to: rows) < 1e-6)
      #expect(DoubleMatrix(x).values == DoubleMatrix(y).transposed.values)
    }
  }

  /// T3: the gradient of L(x) = Σ cᵢ yᵢ² / 2, y = x R, is (c ∘ y) Rᵀ. On a matrix that is not symmetric the forward
  /// operator in its place is far off.
  @Test(arguments: [20, 28, 40])
  func gradientAgainstFiniteDifferences(_ size: Int) {
    let arena = Arena("test")
    let rotation = Self.rotation(size, seed: 9)
    var scratch = Tensor(rows: 1, columns: rotation.scratchCount, in: arena)
    let x = DoubleMatrix.gaussian(1, size, seed: 3, stream: "x")
    let c = DoubleMatrix.gaussian(1, size, seed: 3, stream: "c")
    func rotated(_ x: DoubleMatrix) -> DoubleMatrix {
      var t = x.tensor(in: arena)
      rotation.rotateRows(&t, scratch: &scratch)
      return DoubleMatrix(t)
    }
    func loss(_ x: DoubleMatrix) -> Double {
      zip(c.values, rotated(x).values).reduce(0) { $0 + $1.0 * $1.1 * $1.1 / 2 }
    }
    let step = 1.0 / 64
    let numeric = DoubleMatrix(1, size) { _, j in
      var (up, down) = (x, x)
      up[0, j] += step
      down[0, j] -= step
      return (loss(up) - loss(down)) / (2 * step)
    }
    let y = rotated(x)
    let dy = DoubleMatrix(1, size) { c[0, $1] * y[0, $1] }
    var dx = dy.tensor(in: arena), wrong = dy.tensor(in: arena)
    rotation.rotateRows(&dx, inverse: true, scratch: &scratch)
    rotation.rotateRows(&wrong, scratch: &scratch)
    #expect(DoubleMatrix(dx).distance(to: numeric) < 1e-3)
    #expect(DoubleMatrix(wrong).distance(to: numeric) > 0.5)
  }

  /// T4 in fp32: HALO-2's products from the kernels' transform and the plain fp32 products.
  @Test(arguments: [(40, 768, 24), (12, 4864, 8)])
  func haloTwoEqualsThePlainLayer(_ b: Int, _ m: Int, _ n: Int) {
    let arena = Arena("test")
    let inputs = Self.rotation(m, seed: 9), tokens = Self.rotation(b, seed: 10)
    var scratch = Tensor(rows: 1, columns: max(inputs.scratchCount, tokens.scratchCount), in: arena)
    let layer = RotationModel.Layer(
      x: .gaussian(b, m, seed: 4, stream: "x"), w: .gaussian(n, m, seed: 4, stream: "w"),
      dy: .gaussian(b, n, seed: 4, stream: "dy"))
    var x = layer.x.tensor(in: arena), w = layer.w.tensor(in: arena), dyRotated = layer.dy.tensor(in: arena)
    let dy = layer.dy.tensor(in: arena)
    inputs.rotateRows(&x, scratch: &scratch)
    inputs.rotateRows(&w, scratch: &scratch)
    tokens.rotateColumns(&dyRotated, scratch: &scratch)

    var y = Tensor(rows: b, columns: n, in: arena)
    Linear.forward(&y, of: x, weight: w)
    #expect(DoubleMatrix(y).distance(to: layer.plain(.forward)) < 1e-5)

    var dx = Tensor(rows: b, columns: m, in: arena)
    Linear.backwardInput(&dx, from: dyRotated, weight: w)
    inputs.rotateRows(&dx, inverse: true, scratch: &scratch)
    tokens.rotateColumns(&dx, inverse: true, scratch: &scratch)
    #expect(DoubleMatrix(dx).distance(to: layer.plain(.inputGradient)) < 1e-5)

    var dW = Tensor(rows: n, columns: m, in: arena)
    Linear.backwardWeight(&dW, from: dy, input: x)
    inputs.rotateRows(&dW, inverse: true, scratch: &scratch)
    #expect(DoubleMatrix(dW).distance(to: layer.plain(.weightGradient)) < 1e-5)
  }

  /// No padding: a transform of 2048 cut to 1536 is not orthogonal.
  @Test func anotherWidthIsRefused() async {
    await #expect(processExitsWith: .failure) {
      let arena = Arena("test")
      let rotation = FullHadamard(matrix: [1], order: 1, power: 2048)
      var scratch = Tensor(rows: 1, columns: rotation.scratchCount, in: arena)
      var x = Tensor(rows: 2, columns: 1536, in: arena)
      rotation.rotateRows(&x, scratch: &scratch)
    }
  }
}
