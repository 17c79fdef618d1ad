import Kernels
import Tensors

/// Products with a diagonal matrix, in place, one rounding an element.
extension Tensor {
  /// W[:, j] *= s[j]
  mutating func multiplyColumns(by s: borrowing Span<Float>) {
    precondition(s.count == columns, "\(s.count) factors for \(columns) columns")
    let (rows, columns) = (rows, columns)
    var values = mutableSpan
    for i in 0..<rows {
      for j in 0..<columns { values[i * columns + j] *= s[j] }
    }
  }

  /// W[:, j] /= s[j]
  mutating func divideColumns(by s: borrowing Span<Float>) {
    precondition(s.count == columns, "\(s.count) factors for \(columns) columns")
    let (rows, columns) = (rows, columns)
    var values = mutableSpan
    for i in 0..<rows {
      for j in 0..<columns { values[i * columns + j] /= s[j] }
    }
  }

  /// W[i, :] /= s[i]
  mutating func divideRows(by s: borrowing Span<Float>) {
    precondition(s.count == rows, "\(s.count) factors for \(rows) rows")
    let (rows, columns) = (rows, columns)
    var values = mutableSpan
    for i in 0..<rows {
      for j in 0..<columns { values[i * columns + j] /= s[i] }
    }
  }

  /// x -= y
  mutating func subtract(_ other: borrowing Tensor) {
    precondition(count == other.count, "\(other.count) elements subtracted from \(count)")
    let y = other.span
    var values = mutableSpan
    for i in values.indices { values[i] -= y[i] }
  }

  mutating func fill(with value: Float) {
    var values = mutableSpan
    for i in values.indices { values[i] = value }
  }

  /// Whether every element is 1, as the gains of folded norms are.
  var isOne: Bool {
    let values = span
    for i in values.indices where values[i] != 1 { return false }
    return true
  }

  /// Σ x², in Double and in the order of the elements.
  var squaredNorm: Double {
    let values = span
    var sum = 0.0
    for i in values.indices { sum += Double(values[i]) * Double(values[i]) }
    return sum
  }

  /// Σ (x - y)², likewise.
  borrowing func squaredDistance(to other: borrowing Tensor) -> Double {
    precondition(count == other.count, "distance of \(count) elements to \(other.count)")
    let (a, b) = (span, other.span)
    var sum = 0.0
    for i in a.indices {
      let difference = Double(a[i]) - Double(b[i])
      sum += difference * difference
    }
    return sum
  }
}
