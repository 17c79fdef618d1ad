import Formats
import Kernels
import Quantization
import Tensors
import Testing
import Transformer

/// The three products of a linear layer in few bits, against the same products in double.
@Suite struct LowPrecisionLinearTests {
  /// b, m, n: tokens that are no multiple of 64, features that are one of 32 only.
  static let shape = (tokens: 200, inputs: 320, outputs: 288)

  // MARK: Errors (low-precision reference, section 3; T9, T10)

  struct Case: Sendable, CustomTestStringConvertible {
    let policy: RotationPolicy, forward: MatmulPrecision, backward: MatmulPrecision
    /// Largest relative error of F, E, G on data with outlier channels and outlier tokens.
    let limits: (Double, Double, Double)
    /// What the policy is known to leave behind.
    var floors: (Double, Double, Double) = (0, 0, 0)
    var fullWidth = false
    var testDescription: String { "\(policy) \(forward)/\(backward)\(fullWidth ? ", whole axes" : "")" }
  }

  static let cases = [
    Case(policy: .contraction, forward: .int8, backward: .int8, limits: (0.014, 0.014, 0.014)),
    Case(policy: .contraction, forward: .int8, backward: .int8, limits: (0.014, 0.014, 0.014), fullWidth: true),
    Case(policy: .contraction, forward: .mx, backward: .mx, limits: (0.014, 0.014, 0.014)),
    Case(policy: .none, forward: .mx, backward: .mx, limits: (0.03, 0.03, 0.03)),
    Case(policy: .none, forward: .bf16, backward: .bf16, limits: (0.004, 0.004, 0.004)),
    Case(policy: .none, forward: .int8, backward: .int8, limits: (0.1, 0.02, 0.1), floors: (0.02, 0, 0.02)),
    Case(policy: .halo0, forward: .int8, backward: .int8, limits: (0.2, 0.2, 0.2), floors: (0.03, 0.03, 0.03)),
    Case(policy: .halo1, forward: .int8, backward: .int8, limits: (0.04, 0.2, 0.2), floors: (0, 0.03, 0.03)),
    Case(policy: .halo2, forward: .int8, backward: .int8, limits: (0.04, 0.04, 0.2), floors: (0, 0, 0.03)),
    Case(policy: .halo2, forward: .int8, backward: .int8, limits: (0.04, 0.04, 0.2), floors: (0, 0, 0.03), fullWidth: true),
  ]

  @Test(arguments: cases)
  func errorsOnOutliers(_ c: Case) throws {
    var arithmetic = LinearArithmetic()
    arithmetic.policy = c.policy
    arithmetic.forward = c.forward
    arithmetic.backward = c.backward
    arithmetic.weightGradient = c.backward
    arithmetic.rotatesFullWidth = c.fullWidth
    let bench = Bench(arithmetic)
    bench.fill()
    let (f, e, g) = bench.errors()
    figure("\(c.testDescription): F \(f), E \(e), G \(g)")
    for (name, error, limit, floor) in [
      ("F", f, c.limits.0, c.floors.0), ("E", e, c.limits.1, c.floors.1), ("G", g, c.limits.2, c.floors.2),
    ] {
      #expect(error <= limit, "\(c.testDescription): \(name) \(error)")
      #expect(error >= floor, "\(c.testDescription): \(name) \(error) is better than the policy can be")
    }
  }

  /// Mean over all elements +3: without signs the Hadamard matrix turns the mean into an outlier (T12).
  @Test func signsMatterWhereAMeanIs() {
    func error(_ signs: LinearArithmetic.Signs) -> Double {
      var arithmetic = LinearArithmetic()
      arithmetic.forward = .int8
      arithmetic.signs = signs
      let bench = Bench(arithmetic)
      bench.fill(mean: 3, outliers: false)
      return bench.errors().f
    }
    let (plain, signed) = (error(.none), error(.fixed))
    figure("mean shift: plain \(plain), signs \(signed)")
    #expect(signed * 1.5 < plain)
  }

  /// Nothing quantized: the plain layer, to the bit, whatever the policy (T4).
  @Test(arguments: RotationPolicy.allCases)
  func fullPrecisionIsThePlainLayer(_ policy: RotationPolicy) {
    var arithmetic = LinearArithmetic()
    arithmetic.policy = policy
    let bench = Bench(arithmetic)
    bench.fill()
    _ = bench.errors()
    let found = [values(bench.y), values(bench.dx), values(bench.dw)]
    Linear.forward(&bench.y, of: bench.x, weight: bench.w)
    Linear.backwardInput(&bench.dx, from: bench.dy, weight: bench.w)
    Linear.backwardWeight(&bench.dw, from: bench.dy, input: bench.x)
    #expect(found == [values(bench.y), values(bench.dx), values(bench.dw)])
  }

  // MARK: Codes

  /// Forward multiplies the very codes that are deployed. Where the activations are exact in their format, what is left
  /// is one fp32 addition a block: error <= (K/32) · 2^-24 · Σ |term| (section 7 of the reference).
  @Test(arguments: MXFormat.all)
  func forwardMultipliesTheCodes(_ format: MXFormat) {
    let bench = Bench(.running(forward: .mx), formats: [format])
    bench.fill(activations: .mxint8, weights: format)
    let isExactInteger = format.element.isByteCarried
    let (K, T, N) = (bench.K, bench.T, bench.N)
    bench.linear.forward(&bench.y, of: bench.x, weight: bench.w)
    let (X, W, Y) = (values(bench.x), values(bench.w), values(bench.y))
    var worst = 0.0
    for t in 0..<T {
      for n in 0..<N {
        var sum = 0.0, magnitude = 0.0
        for k in 0..<K {
          let term = Double(X[t * K + k]) * Double(W[n * K + k])
          sum += term
          magnitude += abs(term)
        }
        // bf16 sums element by element, blocks block by block.
        let additions = Double(isExactInteger ? (K + 31) / 32 : K)
        let bound = additions * 0x1p-24 * magnitude
        let error = abs(Double(Y[t * N + n]) - sum)
        worst = max(worst, bound == 0 ? 0 : error / bound)
        if error > bound {
          Issue.record("\(format): y[\(t), \(n)] is off by \(error), the bound is \(bound)")
          return
        }
      }
    }
    figure("\(format): worst error is \(worst) of the bound")
  }

  /// The input gradient in bf16 multiplies the dequantized codes: bf16 holds every element exactly.
  @Test func inputGradientSeesTheQuantizedWeight() {
    let bench = Bench(.running(backward: .bf16), formats: [.mxint4])
    bench.fill(weights: .mxint4)
    #expect(bench.errors().e < 0.003)
  }

  /// Scales so small that bf16 would lose the values: the layer multiplies in fp32, which holds them.
  @Test(arguments: [MXFormat.mxfp8_e4m3, .mxfp8_e5m2, .mxfp6_e3m2])
  func scalesBeyondBF16FallBackToFP32(_ format: MXFormat) {
    let bench = Bench(.running(forward: .mx, backward: .bf16), formats: [format])
    bench.fill(weights: format, weightScale: 0x1p-121)
    #expect(values(bench.w).contains { $0 != 0 && $0.magnitude < 0x1p-126 }, "no value is out of reach of bf16")
    let errors = bench.errors()
    #expect(errors.f < 1e-6 && errors.e < 1e-6)
  }

  // MARK: Stochastic rounding

  /// The mean over many steps of a gradient approaches the exact one as 1/sqrt(steps); rounding to nearest would not.
  @Test(arguments: [MXFormat.mxint8, .mxfp4, .mxint4])
  func stochasticGradientsAreUnbiased(_ format: MXFormat) {
    var arithmetic = LinearArithmetic()
    arithmetic.backward = .mx
    arithmetic.format = format
    arithmetic.gradientRounding = .stochastic
    arithmetic.policy = .none
    let unrotated = Bench(arithmetic)
    unrotated.fill(weights: format)
    var mean = [Double](repeating: 0, count: unrotated.T * unrotated.K)
    var single = 0.0
    let exact = unrotated.exactInputGradient(quantized: format)
    let steps = 64
    for step in 0..<steps {
      unrotated.shared.step = step
      unrotated.linear.backwardInput(&unrotated.dx, from: unrotated.dy, weight: unrotated.w)
      let dx = values(unrotated.dx)
      for i in mean.indices { mean[i] += Double(dx[i]) / Double(steps) }
      if step == 0 { single = relativeError(dx, exact) }
    }
    let averaged = relativeError(mean, exact)
    figure("\(format): one draw \(single), mean of \(steps) \(averaged)")
    #expect(averaged < single / 5, "\(format): one draw \(single), mean of \(steps) \(averaged)")
  }

  @Test func drawsBelongToPlacesNotToCalls() {
    var arithmetic = LinearArithmetic.running(backward: .int8)
    arithmetic.gradientRounding = .stochastic
    let bench = Bench(arithmetic)
    bench.fill()
    func gradient(step: Int, first: Int) -> [Float] {
      bench.shared.step = step
      bench.shared.firstToken = first
      bench.linear.backwardInput(&bench.dx, from: bench.dy, weight: bench.w)
      return values(bench.dx)
    }
    let one = gradient(step: 1, first: 0)
    #expect(one != gradient(step: 2, first: 0))
    #expect(one != gradient(step: 1, first: 200))
    #expect(one == gradient(step: 1, first: 0))
    // The second half alone, told where it stands, has the bits it has in the whole.
    bench.shared.firstToken = 0
    var half = bench.dx.rows(100..<200)
    bench.linear.backwardInput(&half, from: bench.dy.rows(100..<200), weight: bench.w, token: 100, output: .overwrite)
    #expect(values(half) == Array(one[(100 * bench.K)...]))
  }

  // MARK: Not finite

  @Test(arguments: [MatmulPrecision.bf16, .int8, .mx])
  func notFiniteStaysVisible(_ precision: MatmulPrecision) {
    let bench = Bench(.running(forward: precision))
    bench.fill()
    bench.setInput(7, .infinity)
    bench.linear.forward(&bench.y, of: bench.x, weight: bench.w)
    let y = values(bench.y)
    #expect(y[..<bench.N].allSatisfy { !$0.isFinite })
    #expect(y[bench.N...].allSatisfy { $0.isFinite })
  }
}

extension LinearArithmetic {
  fileprivate static func running(
    forward: MatmulPrecision = .fp32, backward: MatmulPrecision = .fp32
  ) -> LinearArithmetic {
    var arithmetic = LinearArithmetic()
    arithmetic.forward = forward
    arithmetic.backward = backward
    return arithmetic
  }
}
