import Tensors

/// A matrix of doubles: what the plain definitions of these tests compute with.
struct Matrix {
  let rows: Int, columns: Int
  var values: [Double]

  init(_ rows: Int, _ columns: Int, _ element: (Int, Int) -> Double = { _, _ in 0 }) {
    self.rows = rows
    self.columns = columns
    values = (0..<rows * columns).map { element($0 / columns, $0 % columns) }
  }

  /// Roughly normal values of standard deviation `scale`, each exactly a float.
  static func random(_ rows: Int, _ columns: Int, seed: UInt64, scale: Double = 1) -> Matrix {
    let random = CounterRandom(seed: seed, stream: "matrix")
    return Matrix(rows, columns) { row, column in
      let w = random.words(UInt64(row * columns + column))
      let sum = Double(w.0) + Double(w.1) + Double(w.2) + Double(w.3)  // variance of four uniforms: 1/3
      return Double(Float((sum * 0x1p-32 - 2) * 3.0.squareRoot() * scale))
    }
  }

  init(_ tensor: borrowing Tensor) {
    rows = tensor.rows
    columns = tensor.columns
    values = []
    for i in 0..<tensor.count { values.append(Double(tensor.span[i])) }
  }

  subscript(row: Int, column: Int) -> Double {
    get { values[row * columns + column] }
    set { values[row * columns + column] = newValue }
  }

  var transposed: Matrix { Matrix(columns, rows) { self[$1, $0] } }

  func columns(_ range: Range<Int>) -> Matrix { Matrix(rows, range.count) { self[$0, range.lowerBound + $1] } }
  func rows(_ range: Range<Int>) -> Matrix { Matrix(range.count, columns) { self[range.lowerBound + $0, $1] } }

  static func * (a: Matrix, b: Matrix) -> Matrix {
    precondition(a.columns == b.rows, "\(a.rows) x \(a.columns) times \(b.rows) x \(b.columns)")
    var c = Matrix(a.rows, b.columns)
    for i in 0..<a.rows {
      for k in 0..<a.columns {
        let factor = a[i, k]
        for j in 0..<b.columns { c.values[i * c.columns + j] += factor * b.values[k * b.columns + j] }
      }
    }
    return c
  }

  static func + (a: Matrix, b: Matrix) -> Matrix { Matrix(a.rows, a.columns) { a[$0, $1] + b[$0, $1] } }
  static func - (a: Matrix, b: Matrix) -> Matrix { Matrix(a.rows, a.columns) { a[$0, $1] - b[$0, $1] } }

  var norm: Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }

  /// ‖self - other‖ / ‖other‖ in the Frobenius norm; NaN anywhere gives NaN, which no bound accepts.
  func distance(to other: Matrix) -> Double { (self - other).norm / max(other.norm, .leastNormalMagnitude) }

  func tensor(in arena: Arena) -> Tensor {
    var tensor = Tensor(rows: rows, columns: columns, in: arena)
    var span = tensor.mutableSpan
    for i in 0..<values.count { span[i] = Float(values[i]) }
    return tensor
  }
}

/// A tensor that holds NaN everywhere: what an operation must overwrite, or must not read.
func poisoned(_ rows: Int, _ columns: Int, in arena: Arena) -> Tensor {
  Matrix(rows, columns) { _, _ in .nan }.tensor(in: arena)
}

func buffer<Element: BitwiseCopyable>(_ values: [Element], in arena: Arena) -> HostBuffer<Element> {
  var buffer = HostBuffer<Element>(count: values.count, in: arena)
  for (i, value) in values.enumerated() { buffer[i] = value }
  return buffer
}
