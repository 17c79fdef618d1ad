#if canImport(Glibc)
  import Glibc
#endif

/// Causal grouped-query attention of one sequence over doubles, probabilities written out.
struct AttentionReference {
  let queryHeads: Int, keyHeads: Int, headDimension: Int

  var queryWidth: Int { queryHeads * headDimension }
  var keyWidth: Int { keyHeads * headDimension }
  private var scale: Double { 1 / Double(headDimension).squareRoot() }

  private func head(_ h: Int) -> Range<Int> { h * headDimension..<(h + 1) * headDimension }
  private func group(_ h: Int) -> Int { h / (queryHeads / keyHeads) }

  /// P (S, S) of head h and log Σ exp of every row.
  private func probabilities(_ q: Matrix, _ k: Matrix, _ h: Int) -> (Matrix, lse: [Double]) {
    let S = q.rows, d = headDimension, g = group(h)
    var p = Matrix(S, S), lse: [Double] = []
    for i in 0..<S {
      for j in 0...i { p[i, j] = (0..<d).reduce(0) { $0 + q[i, h * d + $1] * k[j, g * d + $1] } * scale }
      let most = (0...i).map { p[i, $0] }.max()!
      let sum = (0...i).reduce(0) { $0 + exp(p[i, $1] - most) }
      lse.append(most + log(sum))
      for j in 0...i { p[i, j] = exp(p[i, j] - lse[i]) }
    }
    return (p, lse)
  }

  /// y (S, H·d) and lse (H, S) of q (S, H·d), k and v (S, G·d).
  func forward(_ q: Matrix, _ k: Matrix, _ v: Matrix) -> (y: Matrix, lse: Matrix) {
    var y = Matrix(q.rows, queryWidth), lse = Matrix(queryHeads, q.rows)
    for h in 0..<queryHeads {
      let (p, sums) = probabilities(q, k, h)
      let part = p * v.columns(head(group(h)))
      for i in 0..<q.rows {
        lse[h, i] = sums[i]
        for c in 0..<headDimension { y[i, h * headDimension + c] = part[i, c] }
      }
    }
    return (y, lse)
  }

  /// The gradients of Σ dy · y. With dP = dy vᵀ: dS = P (dP - Σ_row P dP), as the derivative of a softmax is.
  func backward(_ dy: Matrix, _ q: Matrix, _ k: Matrix, _ v: Matrix) -> (q: Matrix, k: Matrix, v: Matrix) {
    var dq = Matrix(q.rows, queryWidth), dk = Matrix(q.rows, keyWidth), dv = dk
    for h in 0..<queryHeads {
      let g = head(group(h)), own = head(h)
      let (p, _) = probabilities(q, k, h)
      let dOut = dy.columns(own)
      let dp = dOut * v.columns(g).transposed
      let means = (0..<p.rows).map { i in (0...i).reduce(0) { $0 + p[i, $1] * dp[i, $1] } }
      let ds = Matrix(p.rows, p.rows) { i, j in j > i ? 0 : scale * p[i, j] * (dp[i, j] - means[i]) }
      let partQ = ds * k.columns(g), partK = ds.transposed * q.columns(own), partV = p.transposed * dOut
      for i in 0..<q.rows {
        for c in 0..<headDimension {
          dq[i, own.lowerBound + c] = partQ[i, c]
          dk[i, g.lowerBound + c] += partK[i, c]
          dv[i, g.lowerBound + c] += partV[i, c]
        }
      }
    }
    return (dq, dk, dv)
  }
}
