import COpenBLAS

/// A = L Lᵀ in Double, blocked and shared by the team of threads.
///
/// The blocks are fixed, so the bits do not depend on the number of threads.
enum Cholesky {
  private static let block = 256

  /// Replaces the lower triangle of A (n, n) row-major by L; above the diagonal blocks' own triangles nothing is
  /// written. False if A is not positive definite, with A spoiled.
  static func factor(_ a: UnsafeMutablePointer<Double>, count n: Int) -> Bool {
    BLAS.singleThreaded
    for start in stride(from: 0, to: n, by: block) {
      let end = min(start + block, n), width = end - start
      let pivot = unsafe a + start * n + start
      var size = blasint(width), leading = blasint(n), info = blasint(0)
      // LAPACK counts columns first: its upper triangle is the lower one of a row-major matrix.
      unsafe dpotrf_("U", &size, pivot, &leading, &info)
      guard info == 0 else { return false }
      guard end < n else { break }
      let tiles = (n - end + block - 1) / block
      ThreadTeam.shared.parallel(tiles) { tile, _ in
        let row = end + tile * block, rows = min(block, n - row)
        unsafe cblas_dtrsm(
          CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, blasint(rows), blasint(width), 1,
          pivot, blasint(n), a + row * n + start, blasint(n))
      }
      ThreadTeam.shared.parallel(tiles) { item, _ in
        // The long rows first: they take longest.
        let row = end + (tiles - 1 - item) * block, rows = min(block, n - row)
        unsafe cblas_dgemm(
          CblasRowMajor, CblasNoTrans, CblasTrans, blasint(rows), blasint(row + rows - end), blasint(width), -1,
          a + row * n + start, blasint(n), a + end * n + start, blasint(n), 1, a + row * n + end, blasint(n))
      }
    }
    return true
  }
}
