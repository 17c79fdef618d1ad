package import Tensors

/// tr(D C Dᵀ) of rows D against second moments C: the squared error that a change of weights makes in a layer's output.
///
/// Products in fp32, sums over their elements in Double. Half of C suffices: panels above the diagonal count twice.
@safe package final class QuadraticForm {
  private static let panel = 256
  package let columns: Int
  /// Panels of C / scale, panel p: rows up to its end, 256 columns.
  private var values: HostBuffer<Float>
  /// The mean of C's diagonal, without which moments could be beyond fp32.
  private let scale: Double

  package init(_ moments: borrowing HostBuffer<Double>, columns K: Int, in arena: Arena) {
    precondition(K > 0 && moments.count == K * K, "moments of \(K) columns")
    columns = K
    let panel = Self.panel, c = unsafe moments.unsafeAddress()
    var trace = 0.0
    for i in 0..<K { unsafe trace += c[i * K + i] }
    let scale = trace > 0 ? trace / Double(K) : 1
    self.scale = scale
    values = HostBuffer(count: Self.offset((K + panel - 1) / panel), in: arena)
    let s = unsafe values.unsafeMutableAddress()
    ThreadTeam.shared.parallel((K + panel - 1) / panel) { p, _ in
      let start = p * panel, end = min(start + panel, K)
      for i in 0..<end {
        let factor = (i < start ? 2 : 1) / scale
        for j in start..<end { unsafe s[Self.offset(p) + i * panel + j - start] = Float(c[i * K + j] * factor) }
      }
    }
  }

  private static func offset(_ p: Int) -> Int { panel * panel * (p * (p + 1) / 2) }

  /// Floats that `value` needs for `rows` rows.
  package static func scratchCount(rows: Int) -> Int { rows * panel }

  /// tr(D C Dᵀ) for D (rows, K) dense.
  @unsafe package func value(_ d: UnsafePointer<Float>, rows: Int, scratch: UnsafeMutablePointer<Float>) -> Double {
    let K = columns, panel = Self.panel
    var sum = 0.0
    for start in stride(from: 0, to: K, by: panel) {
      let end = min(start + panel, K)
      unsafe Gemm.multiply(
        scratch, ldc: panel, m: rows, n: end - start, k: end, d, lda: K,
        values.unsafeAddress() + Self.offset(start / panel), ldb: panel)
      for r in 0..<rows {
        var row = 0.0
        for j in start..<end { unsafe row += Double(d[r * K + j]) * Double(scratch[r * panel + j - start]) }
        sum += row
      }
    }
    return sum * scale
  }
}
