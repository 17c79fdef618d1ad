import Formats

/// GPTQ as it is published, in Double, with an explicit inverse that shrinks column by column.
struct TextbookGPTQ {
  let format: MXFormat
  /// A block of 32 is rounded at once.
  var blocks = false
  /// Scales from the weights themselves.
  var frozen = false

  /// - Parameters:
  ///   - w: N rows of K weights.
  ///   - h: damped moments, K rows.
  /// - Returns: values of the rounded weights.
  func solve(_ w: [[Double]], _ h: [[Double]]) -> [[Double]] {
    let K = h.count
    var inverse = Self.inverse(h), w = w, q = w
    var scales = w.map { _ in [Double](repeating: 1, count: K) }
    let original = w
    for j in 0..<K {
      let block = j / 32 * 32..<min(j / 32 * 32 + 32, K)
      for r in w.indices {
        if j == block.lowerBound {
          let scale = self.scale((frozen ? original : w)[r][block])
          for k in block { scales[r][k] = scale }
          if blocks { for k in block { q[r][k] = nearest(w[r][k], scale) } }
        }
        if !blocks { q[r][j] = nearest(w[r][j], scales[r][j]) }
        let error = (w[r][j] - q[r][j]) / inverse[j][j]
        for k in j..<K { w[r][k] -= error * inverse[j][k] }
      }
      // The inverse without this column.
      let pivot = inverse[j]
      for i in j + 1..<max(K, j + 1) {
        let factor = inverse[i][j] / pivot[j]
        for k in j..<K { inverse[i][k] -= factor * pivot[k] }
      }
    }
    return q
  }

  private func scale(_ block: ArraySlice<Double>) -> Double {
    let maximum = Float(block.map(\.magnitude).max()!)
    return Double(E8M0.value(ScaleRule.floor.scaleByte(forMaximum: maximum, element: format.element)))
  }

  private func nearest(_ w: Double, _ scale: Double) -> Double {
    Double(format.element.decode(format.element.encode(Float(w / scale)))) * scale
  }

  /// Gauss-Jordan; positive definite matrices need no pivots.
  private static func inverse(_ h: [[Double]]) -> [[Double]] {
    let K = h.count
    var a = h, b = (0..<K).map { i in (0..<K).map { $0 == i ? 1.0 : 0 } }
    for j in 0..<K {
      let pivot = 1 / a[j][j]
      for k in 0..<K { (a[j][k], b[j][k]) = (a[j][k] * pivot, b[j][k] * pivot) }
      for i in 0..<K where i != j {
        let factor = a[i][j]
        for k in 0..<K {
          a[i][k] -= factor * a[j][k]
          b[i][k] -= factor * b[j][k]
        }
      }
    }
    return b
  }
}
