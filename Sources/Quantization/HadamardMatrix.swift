/// A Hadamard matrix: entries ±1, H · Hᵀ = n · I exactly.
///
/// Generated where a construction is known rather than stored:
/// - order 1, 2 and every power of two: Sylvester, H[i,j] = (-1)^popcount(i & j)
/// - order p + 1 for a prime p = 3 mod 4: Paley I
/// - order 2 (p + 1) for a prime p = 1 mod 4: Paley II
/// - order 52, 92, 100, 116, 156, 172: Williamson, from stored rows (`HadamardMatrix+Williamson.swift`)
/// - twice an order that is offered: H_2 ⊗ H
///
/// Which construction serves an order is part of the definition: another matrix of the same order is another rotation.
/// Paley I, and with it H_2 ⊗ Paley I, is **not symmetric**: orders 12, 20, 24, 40, 44 and others. Undo a rotation with
/// the transpose.
public struct HadamardMatrix: Sendable, Hashable {
  /// The largest order offered. An axis of any size may be factored (`HadamardSize`); this bounds the dense factor,
  /// which costs `order` additions an element.
  public static let largestOrder = 512

  public let order: Int
  /// ±1, row-major, (order, order).
  public let entries: [Int8]

  /// Nil where no construction above gives the order: one that is no multiple of 4 (above 2), 188, 236, ...
  public init?(order: Int) {
    guard order >= 1, order <= Self.largestOrder, order <= 2 || order % 4 == 0,
      let entries = Self.entries(order: order)
    else { return nil }
    self.order = order
    self.entries = entries
  }

  public subscript(row: Int, column: Int) -> Int8 { entries[row * order + column] }

  public var isSymmetric: Bool {
    (0..<order).allSatisfy { i in (0..<i).allSatisfy { j in self[i, j] == self[j, i] } }
  }

  /// Whether `HadamardMatrix(order:)` would give one, without building it.
  static func isOffered(order: Int) -> Bool {
    guard order >= 1, order <= largestOrder, order <= 2 || order % 4 == 0 else { return false }
    return isPowerOfTwo(order) || isPaleyI(order) || isPaleyII(order) || williamsonRows[order] != nil
      || (order % 8 == 0 && isOffered(order: order / 2))
  }

  private static func entries(order: Int) -> [Int8]? {
    if isPowerOfTwo(order) { return sylvester(order) }
    if isPaleyI(order) { return paleyI(order) }
    if isPaleyII(order) { return paleyII(order) }
    if let rows = williamsonRows[order] { return williamson(rows) }
    guard order % 8 == 0, let half = entries(order: order / 2) else { return nil }
    return kronecker(sylvester(2), of: 2, half, of: order / 2)
  }

  /// H[i,j] = (-1)^popcount(i & j), symmetric.
  private static func sylvester(_ order: Int) -> [Int8] {
    matrix(order) { i, j in (i & j).nonzeroBitCount % 2 == 0 ? 1 : -1 }
  }

  /// a ⊗ b: entry (i, j) is a[i / n, j / n] · b[i % n, j % n].
  private static func kronecker(_ a: [Int8], of m: Int, _ b: [Int8], of n: Int) -> [Int8] {
    matrix(m * n) { i, j in a[i / n * m + j / n] * b[i % n * n + j % n] }
  }

  static func matrix(_ order: Int, _ entry: (Int, Int) -> Int8) -> [Int8] {
    var entries: [Int8] = []
    entries.reserveCapacity(order * order)
    for i in 0..<order { for j in 0..<order { entries.append(entry(i, j)) } }
    return entries
  }

  private static func isPowerOfTwo(_ n: Int) -> Bool { n & (n - 1) == 0 }
}
