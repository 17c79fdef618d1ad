import Kernels
import Tensors

/// The largest singular value by power iteration: from a start that depends on the size alone, so that every rank finds
/// the same number.
enum PowerIteration {
  static let limit = 100
  static let tolerance = 1e-6

  /// λ_max of a symmetric positive semidefinite C (K, K); a little below it where two are close.
  static func largestEigenvalue(of c: borrowing Tensor) -> Double {
    precondition(c.rows == c.columns, "eigenvalue of \(c.rows) x \(c.columns)")
    let arena = Arena("power iteration")
    var v = start(c.columns, in: arena), next = Tensor(rows: 1, columns: c.columns, in: arena)
    return iterate(&v) { v in
      Linear.forward(&next, of: v, weight: c)  // v Cᵀ = v C
      v.copy(from: next)
    }
  }

  /// ‖W‖₂ of any W (N, K).
  static func spectralNorm(of w: borrowing Tensor) -> Double {
    let arena = Arena("power iteration")
    var v = start(w.columns, in: arena), image = Tensor(rows: 1, columns: w.rows, in: arena)
    return iterate(&v) { v in
      Linear.forward(&image, of: v, weight: w)  // v Wᵀ
      Linear.backwardInput(&v, from: image, weight: w)  // (v Wᵀ) W
    }.squareRoot()
  }

  private static func iterate(_ v: inout Tensor, _ multiply: (inout Tensor) -> Void) -> Double {
    var value = 0.0
    for _ in 0..<limit {
      multiply(&v)
      let norm = v.squaredNorm.squareRoot()
      guard norm > 0 && norm.isFinite else { return norm }
      v.multiply(by: Float(1 / norm))
      if abs(norm - value) <= tolerance * norm { return norm }
      value = norm
    }
    return value
  }

  /// A random direction of length 1: no eigenvector is at a right angle to it but by chance.
  private static func start(_ count: Int, in arena: Arena) -> Tensor {
    let random = CounterRandom(seed: 0, stream: "power iteration")
    var v = Tensor(rows: 1, columns: count, in: arena)
    var values = v.mutableSpan
    for i in 0..<count { values[i] = Float(random.uniform(UInt64(i)) - 0.5) }
    v.multiply(by: Float(1 / v.squaredNorm.squareRoot()))
    return v
  }
}
