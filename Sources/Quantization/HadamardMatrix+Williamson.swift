/// Williamson's construction (J. Williamson 1944) for orders 4 n that Paley's do not reach.
///
///     H = |  A  B  C  D |      A, B, C, D symmetric circulants of order n with
///         | -B  A -D  C |      A² + B² + C² + D² = 4 n I
///         | -C  D  A -B |
///         | -D -C  B  A |
///
/// A circulant is its first row; row i is that row shifted right by i. Symmetric circulants commute, which is what
/// makes the off-diagonal blocks of H Hᵀ cancel.
extension HadamardMatrix {
  /// First rows of A, B, C, D by order. Those of 92, 100, 116 come from a search over symmetric sequences (their
  /// squared spectra sum to 4 n at every frequency, which prunes it to milliseconds); tests hold all to H Hᵀ = 4 n I.
  static let williamsonRows: [Int: [String]] = [
    52: [
      "+-+--++++--+-", "+---++++++---", "++-+--++--+-+", "+----+--+----",
    ],
    92: [
      "+--++-+-+-++++-+-+-++--", "+++---++--++++--++---++", "+--+-+-++++++++++-+-+--", "+--+--+++------+++--+--",
    ],
    100: [
      "+--+-++++---++---++++-+--", "++--+-+-+++----+++-+-+--+", "+-------++-++++-++-------",
      "+-+---+--+--++--+--+---+-",
    ],
    116: [
      "+-+-++---+--++++++--+---++-+-", "+-+-+----++-++--++-++----+-+-", "+--+-++---++++++++++---++-+--",
      "+++-++-++++---++---++++-++-++",
    ],
    156: [
      "+++--+-+-----+--++----++--+-----+-+--++", "++++---+--++----+-+--+-+----++--+---+++",
      "+++--++-+---+-+--+----+--+-+---+-++--++", "+---++-+-+-----+++-++-+++-----+-+-++---",
    ],
    172: [
      "+---++--++++-+-+++-++--++-+++-+-++++--++---", "++-++++++----+-+--++-++-++--+-+----++++++-+",
      "+++-+-++--+-+-++++-+----+-++++-+-+--++-+-++", "++---++++-+--+--++--------++--+--+-++++---+",
    ],
  ]

  static func williamson(_ rows: [String]) -> [Int8] {
    let first = rows.map { $0.utf8.map { $0 == UInt8(ascii: "+") ? Int8(1) : -1 } }
    let n = first[0].count
    let block = [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
    let sign: [[Int8]] = [[1, 1, 1, 1], [-1, 1, -1, 1], [-1, 1, 1, -1], [-1, -1, 1, 1]]
    return matrix(4 * n) { i, j in
      let (a, b) = (i / n, j / n)
      return sign[a][b] * first[block[a][b]][(j % n - i % n + n) % n]
    }
  }
}
