import Foundation
import Tensors

/// A row-major matrix of doubles, and the one product that the models of these tests need.
struct DoubleMatrix {
  let rows: Int, columns: Int
  var values: [Double]

  init(_ rows: Int, _ columns: Int, _ element: (Int, Int) -> Double = { _, _ in 0 }) {
    self.rows = rows
    self.columns = columns
    values = []
    values.reserveCapacity(rows * columns)
    for i in 0..<rows { for j in 0..<columns { values.append(element(i, j)) } }
  }

  /// N(0, 1) by Box and Muller, the same everywhere.
  static func gaussian(_ rows: Int, _ columns: Int, seed: UInt64, stream: String) -> DoubleMatrix {
    let random = CounterRandom(seed: seed, stream: stream)
    return DoubleMatrix(rows, columns) { i, j in
      let w = random.words(UInt64(i * columns + j))
      let (u, v) = ((Double(w.0) + 0.5) * 0x1p-32, (Double(w.1) + 0.5) * 0x1p-32)
      return (-2 * log(u)).squareRoot() * cos(2 * .pi * v)
    }
  }

  init(_ tensor: borrowing Tensor) {
    let span = tensor.span, columns = tensor.columns
    self.init(tensor.rows, columns)
    for i in values.indices { values[i] = Double(span[i]) }
  }

  func tensor(in arena: Arena) -> Tensor {
    var tensor = Tensor(rows: rows, columns: columns, in: arena)
    var span = tensor.mutableSpan
    for i in values.indices { span[i] = Float(values[i]) }
    return tensor
  }

  subscript(row: Int, column: Int) -> Double {
    get { values[row * columns + column] }
    set { values[row * columns + column] = newValue }
  }

  var transposed: DoubleMatrix {
    var result = DoubleMatrix(columns, rows)
    for top in stride(from: 0, to: rows, by: 16) {
      for j in 0..<columns {
        for i in top..<min(top + 16, rows) { result.values[j * rows + i] = values[i * columns + j] }
      }
    }
    return result
  }

  /// With zeros below and to the right, or cut.
  func resized(_ rows: Int, _ columns: Int) -> DoubleMatrix {
    DoubleMatrix(rows, columns) { $0 < self.rows && $1 < self.columns ? self[$0, $1] : 0 }
  }

  func scaled(rows selected: Set<Int> = [], columns channels: Set<Int> = [], by factor: Double) -> DoubleMatrix {
    DoubleMatrix(rows, columns) { self[$0, $1] * (selected.contains($0) || channels.contains($1) ? factor : 1) }
  }

  var norm: Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }
  /// The largest magnitude over the root mean square.
  var crest: Double { values.reduce(0) { max($0, abs($1)) } / (norm / Double(values.count).squareRoot()) }

  /// ‖self - other‖ / ‖other‖, Frobenius; NaN anywhere gives NaN, which no bound accepts.
  func distance(to other: DoubleMatrix) -> Double {
    precondition(rows == other.rows && columns == other.columns, "matrices of different shapes")
    var sum = 0.0
    for i in values.indices { sum += (values[i] - other.values[i]) * (values[i] - other.values[i]) }
    return sum.squareRoot() / other.norm
  }

  /// left · rightᵀ: left (m, k), right (n, k). Tiles of 4 x 2 dot products over runs of 512, so that a tile's rows stay
  /// in the first-level cache.
  static func dots(_ left: DoubleMatrix, _ right: DoubleMatrix) -> DoubleMatrix {
    precondition(left.columns == right.columns, "\(left.columns) and \(right.columns) contracted")
    let depth = left.columns
    var result = DoubleMatrix(left.rows, right.rows)
    unsafe left.values.withUnsafeBufferPointer { l in
      unsafe right.values.withUnsafeBufferPointer { r in
        for start in stride(from: 0, to: depth, by: 512) {
          let end = min(start + 512, depth)
          for i in stride(from: 0, to: left.rows, by: 4) {
            for j in stride(from: 0, to: right.rows, by: 2) {
              if i + 4 <= left.rows && j + 2 <= right.rows {
                let sums = unsafe tile(l.baseAddress! + i * depth, r.baseAddress! + j * depth, depth, start, end)
                for a in 0..<4 { for b in 0..<2 { result[i + a, j + b] += sums[2 * a + b] } }
              } else {
                for a in i..<min(i + 4, left.rows) {
                  for b in j..<min(j + 2, right.rows) {
                    var sum = 0.0
                    for k in start..<end { unsafe sum += l[a * depth + k] * r[b * depth + k] }
                    result[a, b] += sum
                  }
                }
              }
            }
          }
        }
      }
    }
    return result
  }

  @inline(__always)
  private static func tile(
    _ l: UnsafePointer<Double>, _ r: UnsafePointer<Double>, _ depth: Int, _ start: Int, _ end: Int
  ) -> SIMD8<Double> {
    typealias Pair = SIMD2<Double>
    var s = (Pair(), Pair(), Pair(), Pair(), Pair(), Pair(), Pair(), Pair())
    var k = start
    func load(_ p: UnsafePointer<Double>) -> Pair { unsafe UnsafeRawPointer(p + k).loadUnaligned(as: Pair.self) }
    while k + 2 <= end {
      let r0 = unsafe load(r), r1 = unsafe load(r + depth)
      let l0 = unsafe load(l), l1 = unsafe load(l + depth)
      s.0 += l0 * r0; s.1 += l0 * r1
      s.2 += l1 * r0; s.3 += l1 * r1
      let l2 = unsafe load(l + 2 * depth), l3 = unsafe load(l + 3 * depth)
      s.4 += l2 * r0; s.5 += l2 * r1
      s.6 += l3 * r0; s.7 += l3 * r1
      k += 2
    }
    var sums = SIMD8(s.0.sum(), s.1.sum(), s.2.sum(), s.3.sum(), s.4.sum(), s.5.sum(), s.6.sum(), s.7.sum())
    if k < end {
      for a in 0..<4 { for b in 0..<2 { unsafe sums[2 * a + b] += l[a * depth + k] * r[b * depth + k] } }
    }
    return sums
  }
}
