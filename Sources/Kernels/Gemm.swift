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
///
/// A team of threads takes pieces of C's rows, cut at multiples of 48: OpenBLAS then computes an element as it would in the
/// whole product (held by ThreadTeamTests). Its Haswell kernel takes 12 rows at a time and sums the rest differently;
/// pieces of columns would show.
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
    let pieces = ThreadTeam.shared.threads == 1 ? 1 : pieceCount(m, n, k)
    let aRow = aSide == .plain ? lda : 1
    ThreadTeam.shared.parallel(pieces) { piece, _ in
      let first = boundary(piece, of: pieces, rows: m), rows = boundary(piece + 1, of: pieces, rows: m) - first
      unsafe cblas_sgemm(
        CblasRowMajor, aSide.cblas, bSide.cblas, blasint(rows), blasint(n), blasint(k), 1, a + first * aRow, blasint(lda),
        b, blasint(ldb), beta, c + first * ldc, blasint(ldc))
    }
  }

  /// At least 192 rows each, since every piece packs B anew (5 % of the time), and well above the sizes (some 100³) for
  /// which OpenBLAS has kernels of their own.
  private static func pieceCount(_ m: Int, _ n: Int, _ k: Int) -> Int {
    144 * n * k < 4 << 20 ? 1 : max(1, min(16, m / 192))
  }

  private static func boundary(_ piece: Int, of pieces: Int, rows: Int) -> Int {
    piece == pieces ? rows : piece * rows / pieces / 48 * 48
  }
}
