import COpenBLAS
public import Tensors

/// X A = E for a symmetric positive definite A: the normal equations of a linear regression, solved rows of E at a time.
public final class NormalEquations {
  /// K
  public let columns: Int
  private var factor: HostBuffer<Double>  // L of A = L Lᵀ, lower, row-major

  /// nil if A is not positive definite to working precision.
  ///
  /// - Parameters:
  ///   - matrix: A (K, K) but for its diagonal.
  ///   - diagonal: of A.
  public init?(_ matrix: borrowing HostBuffer<Double>, diagonal: [Double], in arena: Arena) {
    let K = diagonal.count
    precondition(matrix.count == K * K, "a matrix of \(matrix.count) elements with \(K) columns")
    columns = K
    factor = HostBuffer(count: K * K, in: arena)
    factor.copy(from: matrix)
    for i in 0..<K { factor[i * K + i] = diagonal[i] }
    guard unsafe Cholesky.factor(factor.unsafeMutableAddress(), count: K) else { return nil }
  }

  /// Rows `rows` of E (N, K) become those of X. The same whatever other rows are solved beside them, for the same `rows`.
  public func solve(_ e: inout HostBuffer<Double>, rows: Range<Int>) {
    precondition(rows.lowerBound >= 0 && rows.upperBound * columns <= e.count, "rows \(rows) of \(e.count / columns)")
    guard !rows.isEmpty else { return }
    let K = blasint(columns), x = unsafe e.unsafeMutableAddress() + rows.lowerBound * columns
    let l = unsafe factor.unsafeAddress()
    // X L Lᵀ = E
    unsafe cblas_dtrsm(
      CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, blasint(rows.count), K, 1, l, K, x, K)
    unsafe cblas_dtrsm(
      CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, blasint(rows.count), K, 1, l, K, x, K)
  }
}
