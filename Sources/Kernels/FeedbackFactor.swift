import CKernels
package import Tensors

/// By how much the rounding error of a column moves the columns behind it: what a sweep of error feedback reads.
///
/// With the damped second moments H = C + δI = R Rᵀ, R upper triangular, S_ij = R_ij / R_jj. GPTQ (arXiv 2210.17323)
/// takes the Cholesky factor U = R⁻¹ of H⁻¹ instead; both round the same weights to the same codes (ck_solver.h), and
/// this one spares the inverse: K³/3 operations in place of 2K³/3, and the error of inverting.
///
/// Memory: S in fp32 by panels of 128 columns, K(K + 128)/2 floats; while it is made K² doubles more.
@safe public final class FeedbackFactor {
  /// Columns of a panel.
  package static let panel = Int(CK_SOLVER_COLUMNS)

  /// K
  public let columns: Int
  /// The least diagonal entry of U = R⁻¹, relative to their mean: how far from singular H is.
  public let flatness: Double
  /// Panel p: rows 0..<128p of its columns, then its square on the diagonal, transposed. Rows of 128.
  private var values: HostBuffer<Float>

  /// nil if C + δI is not positive definite to working precision.
  ///
  /// - Parameters:
  ///   - moments: C (K, K), symmetric and finite. Only C[i, j] of columns that follow each other in `order` this way round
  ///     are read.
  ///   - order: column `order[j]` is the j-th to be rounded; nil: as they are.
  ///   - diagonal: C's diagonal plus δ, K entries in the order of C.
  package init?(
    _ moments: borrowing HostBuffer<Double>, diagonal: [Double], order: [Int32]?, in arena: Arena
  ) {
    let K = diagonal.count, panel = Self.panel
    precondition(K > 0 && moments.count == K * K && order?.count ?? K == K, "moments of \(K) columns")
    columns = K
    // Upper triangular factors come from the matrix turned by half a turn: J H J = L Lᵀ, R = J L J.
    let scratch = Arena("factor")
    var turned = HostBuffer<Double>(count: K * K, in: scratch)
    let l = unsafe turned.unsafeMutableAddress(), c = unsafe moments.unsafeAddress()
    ThreadTeam.shared.parallel(K, by: 64) { range in
      for i in range {
        let source = order.map { Int($0[K - 1 - i]) } ?? K - 1 - i
        let row = unsafe l + i * K, from = unsafe c + source * K
        if let order {
          for j in 0..<i { unsafe row[j] = from[Int(order[K - 1 - j])] }
        } else {
          for j in 0..<i { unsafe row[j] = from[K - 1 - j] }
        }
        unsafe row[i] = diagonal[source]
      }
    }
    let isDefinite = unsafe Cholesky.factor(l, count: K)
    var sum = 0.0, least = Double.infinity
    if isDefinite {
      for i in 0..<K {
        let entry = unsafe 1 / l[i * K + i]
        sum += entry
        least = min(least, entry)
      }
    }
    values = HostBuffer(count: isDefinite ? Self.offset((K + panel - 1) / panel) : 0, in: arena)
    flatness = least / (sum / Double(K))
    guard isDefinite && sum.isFinite && least > 0 else { return nil }

    let s = unsafe values.unsafeMutableAddress()
    ThreadTeam.shared.parallel((K + panel - 1) / panel) { p, _ in
      let start = p * panel, width = min(panel, K - start)
      let target = unsafe s + Self.offset(p)
      // R[i, j] = L[K-1-i, K-1-j]
      let corner = unsafe l + (K * K - 1)
      for i in 0..<start + width {
        for c in max(0, i - start)..<width {
          let j = start + c
          let value = unsafe Float(corner[-i * K - j] / corner[-j * K - j])
          if i < start { unsafe target[i * panel + c] = value } else { unsafe target[(start + c) * panel + i - start] = value }
        }
      }
    }
  }

  private static func offset(_ p: Int) -> Int { panel * panel * (p * (p + 1) / 2) }

  /// The rows above the square of panel `p`, (128p, 128); the square transposed follows them, (128, 128).
  package func panel(_ p: Int) -> UnsafePointer<Float> { unsafe values.unsafeAddress() + Self.offset(p) }
}
