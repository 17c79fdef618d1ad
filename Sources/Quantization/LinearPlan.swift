/// The arithmetic of every matrix product of one model, and what the cost model thinks of it.
public struct LinearPlan: Sendable, Hashable {
  /// One product and what became of the wish for low precision.
  public struct Decision: Sendable, Hashable {
    public let name: String
    public let inputs: Int
    public let outputs: Int
    public let arithmetic: LinearArithmetic
    /// Predicted time of the three fp32 products over that of this arithmetic.
    public let predictedSpeedup: Double
    /// Whether the wish was refused because it would not pay.
    public let isTooSmall: Bool
  }

  public private(set) var decisions: [Decision] = []
  private var byName: [String: LinearArithmetic] = [:]

  /// Least predicted speed-up for which a layer leaves fp32.
  public static let threshold = 1.2

  public init() {}

  /// Adds a product.
  ///
  /// - Parameter cost: nil keeps the wish, whatever it costs.
  public mutating func add(
    _ name: String, inputs: Int, outputs: Int, tokens: Int, wish: LinearArithmetic, hasCodes: Bool, cost: LinearCost?
  ) {
    guard !wish.isFullPrecision else { return }
    let speedup = cost?.speedup(wish, inputs: inputs, outputs: outputs, tokens: tokens, hasCodes: hasCodes) ?? .infinity
    let isTooSmall = speedup < Self.threshold
    let arithmetic = isTooSmall ? .fullPrecision : wish
    decisions.append(
      Decision(
        name: name, inputs: inputs, outputs: outputs, arithmetic: arithmetic, predictedSpeedup: speedup,
        isTooSmall: isTooSmall))
    byName[name] = arithmetic
  }

  public func arithmetic(of name: String) -> LinearArithmetic { byName[name] ?? .fullPrecision }
}

/// What low precision costs and saves on one kind of processor, in units of an fp32 multiply-add.
///
/// A decision must be the same on every rank and after a resume, so it is taken from figures measured once for each
/// kernel table, never from a clock.
///
/// They are the columns "products" and "an element" of
///
///     [MFQAT_KERNELS=<table>] mfqat-bench linear --shape 1024x1024x1024
///
/// on an EPYC of the Zen 4 generation beside OpenBLAS 0.3.21; for table avx2 with OpenBLAS' kernels of such a processor
/// (OPENBLAS_CORETYPE=Haswell MFQAT_BENCH_BLAS=pinned), for the scalar one with shape 256x256x256. `mfqat-bench gemm`
/// and `mfqat-bench hadamard` give the same alone. The column "predicted" is the answer of this model: within 10 % of
/// the measured speed-up from 2048 x 256 x 1024 to 1024 x 4096 x 4096 (tokens x inputs x outputs).
public struct LinearCost: Sendable, Hashable {
  /// How many times faster than fp32 the products are.
  public var int8: Double, blocks: Double, bf16: Double
  /// Multiply-adds in the time of rotating, quantizing and packing one element.
  public var quantize: Double
  /// The same for rounding to bf16.
  public var round: Double

  public init(int8: Double, blocks: Double, bf16: Double, quantize: Double, round: Double) {
    self.int8 = int8
    self.blocks = blocks
    self.bf16 = bf16
    self.quantize = quantize
    self.round = round
  }

  /// Figures for a kernel table.
  public init(table: String) {
    switch table {
    case "avx512_bf16": self.init(int8: 4.3, blocks: 3.75, bf16: 2.15, quantize: 23, round: 21)
    case "avx512_vnni": self.init(int8: 4.3, blocks: 3.75, bf16: 1.15, quantize: 23, round: 21)
    case "avx512": self.init(int8: 1.6, blocks: 1.3, bf16: 1.15, quantize: 23, round: 20)
    case "avx2": self.init(int8: 1.45, blocks: 1.12, bf16: 1, quantize: 31, round: 28)
    default: self.init(int8: 0.02, blocks: 0.02, bf16: 0.01, quantize: 500, round: 12)
    }
  }

  /// Predicted time of forward and both gradients in fp32 over their time in `a`.
  public func speedup(_ a: LinearArithmetic, inputs: Int, outputs: Int, tokens: Int, hasCodes: Bool) -> Double {
    let K = Double(inputs), N = Double(outputs), T = Double(tokens)
    let product = T * K * N
    func time(_ precision: MatmulPrecision, _ elements: Double, isBlocked: Bool) -> Double {
      switch precision {
      case .fp32: product
      case .bf16: product / bf16 + elements * round
      case .int8, .mx: product / (isBlocked ? blocks : int8) + elements * quantize
      }
    }
    let transforms = a.isHALO ? 2.0 : 1.0
    // Random numbers take as long as all else of an element.
    let rounding = a.gradientRounding == .stochastic ? 2.0 : 1.0
    func gradient(_ precision: MatmulPrecision) -> Double { precision.isInteger ? rounding * T * N : T * N }
    let total =
      time(a.forward, transforms * (T * K + K * N), isBlocked: hasCodes || a.forward == .mx)
      + time(a.backward, transforms * (gradient(a.backward) + K * N), isBlocked: a.backward == .mx)
      + time(a.weightGradient, transforms * (gradient(a.weightGradient) + T * K), isBlocked: a.weightGradient == .mx)
    return 3 * product / total
  }
}
