import COpenBLAS

/// fp32 matrix products through OpenBLAS: the one place that calls it.
///
/// Its results depend on its kernel (`coreName`) and thread count, so both are fixed for the whole process before the
/// first product: `BLAS.configure` from the command line, one thread otherwise.
public enum BLAS {
  /// The kernel family OpenBLAS chose for this processor, e.g. `SkylakeX` (AVX-512) or `Haswell` (AVX2).
  public static var coreName: String { unsafe String(cString: openblas_get_corename()) }
  public static var version: String { unsafe String(cString: openblas_get_config()) }

  /// One thread: ranks are the parallelism, and sums must not depend on a pool's size.
  static let singleThreaded: Void = openblas_set_num_threads(1)
}

/// C (m x n) = A · B + beta · C, row-major with leading dimensions.
enum Gemm {
  enum Side {
    case plain, transposed
    fileprivate var cblas: CBLAS_TRANSPOSE { self == .plain ? CblasNoTrans : CblasTrans }
  }

  @inline(__always)
  static func multiply(
    _ c: UnsafeMutablePointer<Float>, ldc: Int, m: Int, n: Int, k: Int,
    _ a: UnsafePointer<Float>, _ aSide: Side = .plain, lda: Int,
    _ b: UnsafePointer<Float>, _ bSide: Side = .plain, ldb: Int, beta: Float = 0
  ) {
    guard m > 0 && n > 0 else { return }
    BLAS.singleThreaded
    unsafe cblas_sgemm(
      CblasRowMajor, aSide.cblas, bSide.cblas, blasint(m), blasint(n), blasint(k), 1, a, blasint(lda), b, blasint(ldb),
      beta, c, blasint(ldc))
  }
}
