/// How the rows of a unit's matrices are divided over ranks.
///
/// A unit is what is gathered, computed and freed together: a transformer layer, the embedding, the head. Its full
/// layout is matrix after matrix, row-major, without gaps. Each matrix is divided by itself: rank r of N owns rows
/// rows*r/N ..< rows*(r+1)/N, so shares differ by at most one row, and a matrix with fewer rows than ranks leaves some
/// ranks without any. No row is split, hence no block of a block format: what a rank encodes of its rows is to the byte
/// what an encoder of the whole matrix would write there. A rank's shard is its rows, matrix after matrix, without gaps;
/// for one rank it is the full layout.
///
/// A block format of the same unit is two planes of bytes, codes (one an element, so element offsets apply) and scales
/// (ceil(columns / 32) a row), each laid out and divided the same way.
public struct RowShards: Sendable, Hashable {
  /// A matrix of the unit. A vector of n is n x 1 (divided) or 1 x n (whole, on one rank): the caller says which.
  public struct Matrix: Sendable, Hashable {
    public let rows: Int
    public let columns: Int

    public init(rows: Int, columns: Int) {
      precondition(rows >= 0 && columns >= 0, "matrix of \(rows) x \(columns)")
      self.rows = rows
      self.columns = columns
    }

    public var elementCount: Int { rows * columns }
    /// Scale bytes of one row.
    public var blocksPerRow: Int { (columns + 31) / 32 }
  }

  /// Consecutive rows of one matrix that one rank owns: contiguous in the full layout and in the rank's shard.
  public struct Run: Sendable, Hashable {
    public let matrix: Int
    public let rows: Range<Int>
    public let columns: Int
    /// First element in the unit and in the owner's shard; offsets of codes as well.
    public let fullOffset: Int
    public let shardOffset: Int
    public let fullScaleOffset: Int
    public let shardScaleOffset: Int
    /// The unit's rows are numbered matrix after matrix; the number of the first row of this run.
    public let firstRow: Int
    /// The number of rows that precede this run in the owner's shard.
    public let shardRow: Int

    public var elementCount: Int { rows.count * columns }
    public var scaleCount: Int { rows.count * ((columns + 31) / 32) }
  }

  public let matrices: [Matrix]
  public let ranks: Int
  /// Elements, rows and scale bytes of the whole unit.
  public let elementCount: Int
  public let rowCount: Int
  public let scaleCount: Int

  private let runs: [[Run]]
  private let elementCounts: [Int]
  private let rowCounts: [Int]
  private let scaleCounts: [Int]

  public init(_ matrices: [Matrix], ranks: Int) {
    precondition(ranks > 0, "\(ranks) ranks")
    self.matrices = matrices
    self.ranks = ranks
    elementCount = matrices.reduce(0) { $0 + $1.elementCount }
    rowCount = matrices.reduce(0) { $0 + $1.rows }
    scaleCount = matrices.reduce(0) { $0 + $1.rows * $1.blocksPerRow }
    runs = (0..<ranks).map { Self.runs(of: matrices, rank: $0, ranks: ranks) }
    elementCounts = runs.map { $0.reduce(0) { $0 + $1.elementCount } }
    rowCounts = runs.map { $0.reduce(0) { $0 + $1.rows.count } }
    scaleCounts = runs.map { $0.reduce(0) { $0 + $1.scaleCount } }
  }

  /// What `rank` owns, in the order of its shard; matrices of which it owns no row are left out.
  public func runs(ofRank rank: Int) -> [Run] { runs[rank] }
  /// Elements (and code bytes) of a rank's shard.
  public func elementCount(ofRank rank: Int) -> Int { elementCounts[rank] }
  public func rowCount(ofRank rank: Int) -> Int { rowCounts[rank] }
  public func scaleCount(ofRank rank: Int) -> Int { scaleCounts[rank] }
  /// Elements of the largest shard.
  public var widestShard: Int { elementCounts.max() ?? 0 }

  /// Rows of a matrix of `rows` rows that `rank` owns.
  public static func rows(of rows: Int, rank: Int, ranks: Int) -> Range<Int> {
    rows * rank / ranks..<rows * (rank + 1) / ranks
  }

  private static func runs(of matrices: [Matrix], rank: Int, ranks: Int) -> [Run] {
    var full = (elements: 0, scales: 0, rows: 0)
    var shard = full
    var runs: [Run] = []
    for (index, matrix) in matrices.enumerated() {
      let owned = Self.rows(of: matrix.rows, rank: rank, ranks: ranks)
      if !owned.isEmpty {
        let run = Run(
          matrix: index, rows: owned, columns: matrix.columns,
          fullOffset: full.elements + owned.lowerBound * matrix.columns, shardOffset: shard.elements,
          fullScaleOffset: full.scales + owned.lowerBound * matrix.blocksPerRow, shardScaleOffset: shard.scales,
          firstRow: full.rows + owned.lowerBound, shardRow: shard.rows)
        shard.elements += run.elementCount
        shard.scales += run.scaleCount
        shard.rows += owned.count
        runs.append(run)
      }
      full.elements += matrix.elementCount
      full.scales += matrix.rows * matrix.blocksPerRow
      full.rows += matrix.rows
    }
    return runs
  }
}
