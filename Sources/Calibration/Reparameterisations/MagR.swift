import Kernels
public import Tensors

/// Weights whose largest magnitude is smaller while the layer's outputs stay almost as they were, so that the same bits
/// have finer steps (Zhang et al., arXiv 2406.00800).
///
/// For every row w of W (N, K):  min over ŵ of ½ (ŵ - w) Ĉ (ŵ - w)ᵀ + a · ‖ŵ‖_∞,  Ĉ = C / λ_max(C), by proximal
/// gradient with step 1:
///
///     v = ŵ - (ŵ - w) Ĉ        ŵ = v - a · Proj(v / a)      Proj onto the unit ball of the 1-norm
///
/// Approximate, unlike the other reparameterisations: the outputs move by about 1e-5 of their energy where the inputs
/// have directions without energy to hide the change in. Rows are independent; tiles of 128 are the unit of work, so
/// that results depend neither on ranks nor on threads.
public struct MagR: Sendable, Hashable {
  /// Rows that are one matrix product.
  public static let tileRows = 128

  /// a: 1e-3 for whole rows, 1e-4 for groups in the paper.
  public let penalty: Double
  /// Columns that have an ∞-norm of their own, a multiple of 32; nil for the whole row.
  public let group: Int?
  public let iterations: Int

  public init(penalty: Double = 1e-3, group: Int? = nil, iterations: Int = 200) {
    precondition(penalty >= 0 && penalty.isFinite && iterations >= 0,
      "MagR with a = \(penalty), \(iterations) iterations")
    precondition(group.map { $0 > 0 && $0 % 32 == 0 } ?? true, "groups are multiples of 32 columns")
    self.penalty = penalty
    self.group = group
    self.iterations = iterations
  }

  /// For groups of 32 · k columns.
  public static func grouped(_ group: Int, iterations: Int = 200) -> MagR {
    MagR(penalty: 1e-4, group: group, iterations: iterations)
  }

  /// Second moments divided by their largest eigenvalue, fp32: made once for all weights that share an input.
  public final class Inputs {
    /// (K, K)
    let values: Tensor
    /// λ_max of the moments as they were.
    public let largestEigenvalue: Double

    public init(_ gram: Gram, in arena: Arena) {
      let K = gram.columns
      var c = Tensor(rows: K, columns: K, in: arena)
      // Divided by the trace first: sums over millions of tokens need not be in fp32's range.
      let trace = (0..<K).reduce(0.0) { $0 + gram.energy($1) }
      if trace > 0 { Self.divide(gram.values, by: trace, into: &c) }
      let largest = PowerIteration.largestEigenvalue(of: c)
      if largest > 0 { c.multiply(by: Float(1 / largest)) }
      largestEigenvalue = largest * trace
      values = c
    }

    private static func divide(_ moments: borrowing HostBuffer<Double>, by trace: Double, into c: inout Tensor) {
      let moments = moments.span
      var values = c.mutableSpan
      for i in values.indices { values[i] = Float(moments[i] / trace) }
    }
  }

  /// What happened to some rows; sums, so that tiles add up in the order of their index.
  public struct Report: Sendable, Hashable, BitwiseCopyable {
    public var rows = 0
    /// Σ over rows of max|w|, and of the same afterwards.
    public var maximaBefore = 0.0
    public var maximaAfter = 0.0
    /// Σ over rows of w Ĉ wᵀ, and of (ŵ - w) Ĉ (ŵ - w)ᵀ.
    public var outputEnergy = 0.0
    public var outputChange = 0.0

    public init() {}

    /// 0.3 where row maxima fell by 30 % on average.
    public var reduction: Double { maximaBefore > 0 ? 1 - maximaAfter / maximaBefore : 0 }
    /// ‖X(ŵ - w)‖² / ‖Xw‖²
    public var relativeChange: Double { outputEnergy > 0 ? outputChange / outputEnergy : 0 }

    public static func + (a: Report, b: Report) -> Report {
      var sum = a
      sum.rows += b.rows
      sum.maximaBefore += b.maximaBefore
      sum.maximaAfter += b.maximaAfter
      sum.outputEnergy += b.outputEnergy
      sum.outputChange += b.outputChange
      return sum
    }
  }

  public static func tileCount(rows: Int) -> Int { (rows + tileRows - 1) / tileRows }

  /// Rows of tile `index`.
  public static func rows(ofTile index: Int, of rows: Int) -> Range<Int> {
    index * tileRows..<min(rows, (index + 1) * tileRows)
  }

  /// Changes the rows of `tiles` of W (N, K) in place; one report a tile.
  public func reduce(_ weight: inout Tensor, inputs: Inputs, tiles: Range<Int>) -> [Report] {
    let N = weight.rows
    precondition(inputs.values.columns == weight.columns, "weight and inputs disagree: \(weight.columns) columns")
    precondition(tiles.lowerBound >= 0 && tiles.upperBound <= Self.tileCount(rows: N), "tiles \(tiles) of \(N) rows")
    let arena = Arena("MagR"), team = ThreadTeam.shared, K = weight.columns
    let scratch = Tensor(rows: min(team.threads, tiles.count), columns: 4 * Self.tileRows * K, in: arena)
    let matrix = weight.region(0, rows: N, columns: K)
    let reports = HostBuffer<Report>(count: tiles.count, in: arena)
    let shared = reports.region(0..<tiles.count)
    team.parallel(tiles.count, workers: scratch.rows) { item, worker in
      let rows = Self.rows(ofTile: tiles.lowerBound + item, of: N)
      var tile = matrix.rows(rows), report = shared.region(item..<item + 1)
      let memory = scratch.rows(worker..<worker + 1)
      report[0] = reduce(tile: &tile, inputs, memory)
    }
    return (0..<tiles.count).map { reports[$0] }
  }

  /// The whole weight.
  public func reduce(_ weight: inout Tensor, inputs: Inputs) -> Report {
    reduce(&weight, inputs: inputs, tiles: 0..<Self.tileCount(rows: weight.rows)).reduce(Report(), +)
  }

  private func reduce(tile w: inout Tensor, _ inputs: Inputs, _ scratch: borrowing Tensor) -> Report {
    let (rows, K) = (w.rows, w.columns)
    func part(_ index: Int) -> Tensor { scratch.region(index * Self.tileRows * K, rows: rows, columns: K) }
    var original = part(0), difference = part(1), gradient = part(2)
    original.copy(from: w)
    var report = Report()
    report.rows = rows
    report.maximaBefore = Self.sumOfMaxima(w)
    Linear.backwardInput(&gradient, from: w, weight: inputs.values)
    report.outputEnergy = Self.dot(w, gradient)

    // a = 0 has the solution ŵ = w, where the iteration starts.
    var candidates: [Double] = []
    for _ in 0..<(penalty > 0 ? iterations : 0) {
      Self.subtract(original, from: w, into: &difference)
      Linear.backwardInput(&gradient, from: difference, weight: inputs.values)
      step(&w, gradient, &candidates)
    }
    Self.subtract(original, from: w, into: &difference)
    Linear.backwardInput(&gradient, from: difference, weight: inputs.values)
    report.outputChange = Self.dot(difference, gradient)
    report.maximaAfter = Self.sumOfMaxima(w)
    return report
  }

  /// w <- prox(w - gradient), row by row and group by group.
  private func step(_ w: inout Tensor, _ gradient: borrowing Tensor, _ candidates: inout [Double]) {
    let (rows, K) = (w.rows, w.columns), width = group ?? K
    let g = gradient.span
    var values = w.mutableSpan
    for i in 0..<rows {
      for first in stride(from: 0, to: K, by: width) {
        let range = i * K + first..<i * K + min(K, first + width)
        for j in range { values[j] -= g[j] }
        let bound = Float(Self.threshold(values.span, range, penalty, &candidates))
        for j in range { values[j] = min(max(values[j], -bound), bound) }
      }
    }
  }

  /// t ≥ 0 with Σ max(|v| - t, 0) = a, or 0 where ‖v‖₁ ≤ a.
  ///
  /// v - a Proj(v / a) is v clamped to ±t: the projection's soft threshold is t / a (Duchi et al. 2008, figure 1: sort,
  /// find the largest ρ with µ_ρ > (Σ_{k ≤ ρ} µ_k - 1) / ρ). No t is below max|v| - a, so only what lies above is
  /// sorted.
  static func threshold(
    _ v: borrowing Span<Float>, _ range: Range<Int>, _ a: Double, _ candidates: inout [Double]
  ) -> Double {
    var largest: Float = 0
    for j in range { largest = max(largest, v[j].magnitude) }
    let least = Double(largest) - a
    candidates.removeAll(keepingCapacity: true)
    for j in range where Double(v[j].magnitude) > least { candidates.append(Double(v[j].magnitude)) }
    candidates.sort(by: >)
    // Where a is less than the rounding of max|v| there are none, and nothing is clamped.
    var sum = 0.0, threshold = candidates.isEmpty ? Double(largest) : 0
    for (k, value) in candidates.enumerated() {
      sum += value
      let t = (sum - a) / Double(k + 1)
      guard value > t else { break }
      threshold = t
    }
    return max(0, threshold)
  }

  private static func subtract(_ a: borrowing Tensor, from b: borrowing Tensor, into out: inout Tensor) {
    let (a, b) = (a.span, b.span)
    var values = out.mutableSpan
    for i in values.indices { values[i] = b[i] - a[i] }
  }

  private static func dot(_ a: borrowing Tensor, _ b: borrowing Tensor) -> Double {
    let (a, b) = (a.span, b.span)
    var sum = 0.0
    for i in a.indices { sum += Double(a[i]) * Double(b[i]) }
    return sum
  }

  private static func sumOfMaxima(_ w: borrowing Tensor) -> Double {
    let values = w.span, K = w.columns
    var sum = 0.0
    for i in 0..<w.rows {
      var largest: Float = 0
      for j in 0..<K { largest = max(largest, values[i * K + j].magnitude) }
      sum += Double(largest)
    }
    return sum
  }
}
