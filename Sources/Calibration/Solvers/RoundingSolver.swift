import Formats
import Kernels
public import Tensors

/// Rounds the weights of one input by one plan: the second moments are factored once, then serve every weight.
///
///     let solver = try RoundingSolver(plan, columns: K, gram: gram, name: "model.layers.3, input of o_proj")
///     try solver.solve(weight, tiles: 0..<RoundingSolver.tileCount(rows: N), into: &packed)
///
/// A weight is solved in fixed tiles of 128 rows, which know nothing of each other. Ranks take ranges of tiles, threads
/// of a rank single ones: the codes depend on neither.
public final class RoundingSolver {
  public static let tileRows = 128

  /// Tiles of a weight of N rows, the last one shorter.
  public static func tileCount(rows: Int) -> Int { (rows + tileRows - 1) / tileRows }

  /// Rows of a tile of a weight of N rows.
  public static func rows(ofTile tile: Int, of rows: Int) -> Range<Int> {
    tile * tileRows..<min((tile + 1) * tileRows, rows)
  }

  public let plan: RoundingPlan
  /// K
  public let columns: Int
  public let name: String
  public private(set) var report = FactorReport()
  private let rounding: TileRounding
  private let arena: Arena
  private var scratch: [ScratchBox] = []

  /// - Parameters:
  ///   - gram: second moments of the input; needed by all methods but the nearest, which ignores them.
  ///   - name: what errors name: the input or the weight.
  public init(_ plan: RoundingPlan, columns K: Int, gram: Gram?, name: String) throws(CalibrationError) {
    if let (problem, hint) = plan.problem { throw CalibrationError(name, problem, hint: hint) }
    self.plan = plan
    self.name = name
    columns = K
    arena = Arena("rounding of \(name)")
    var report = FactorReport(), factor: FeedbackFactor?, order: [Int32]?
    if plan.method != .nearest {
      guard let gram else { throw CalibrationError(name, "rounding with error feedback needs second moments") }
      guard gram.columns == K else {
        throw CalibrationError(name, "the weight has \(K) columns, the second moments \(gram.columns)")
      }
      let energies = try Self.energies(of: gram, name)
      report.deadColumns = energies.indices.filter { energies[$0] == 0 }
      if plan.order == .descendingEnergy {
        order = energies.indices.sorted { (energies[$1], $0) < (energies[$0], $1) }.map(Int32.init)
      }
      factor = try Self.factor(gram, energies, order, plan.damping, name, &report, arena)
    }
    let targets = plan.targets.isEmpty ? nil : CompiledTargets(
      anchor: plan.format,
      plan.targets.map { target in (try! SlicePlan(from: plan.format, to: target.format), Float(target.weight)) })
    rounding = TileRounding(
      plan.format, search: plan.scales, method: plan.tileMethod, frozen: plan.method == .columns(.frozen), order: order,
      deadColumns: report.deadColumns, factor: factor, targets: targets)
    self.report = report
  }

  /// Rounds the rows of `tiles` into their places of `packed`; other rows of it are left alone.
  ///
  /// - Parameters:
  ///   - weight: the whole W (N, K); only rows of `tiles` are read.
  ///   - packed: (N, K) in the plan's format.
  /// - Throws: if a weight is NaN or infinite, or becomes so.
  public func solve(
    _ weight: borrowing Tensor, tiles: Range<Int>, into packed: inout PackedTensor
  ) throws(CalibrationError) {
    let N = weight.rows, K = columns, blocks = PackedTensor.blockCount(K)
    precondition(weight.columns == K && packed.rows == N && packed.columns == K && packed.format == plan.format,
      "\(name): weight \(N) x \(weight.columns) into \(packed.format) \(packed.rows) x \(packed.columns) by \(K) columns")
    precondition(tiles.lowerBound >= 0 && tiles.upperBound <= Self.tileCount(rows: N), "tiles \(tiles) of \(N) rows")
    while scratch.count < ThreadTeam.shared.threads {
      scratch.append(ScratchBox(rounding.makeScratch(rows: Self.tileRows, columns: K, in: arena)))
    }
    let w = unsafe weight.unsafeAddress(), codes = unsafe packed.codes.unsafeMutableAddress()
    let scales = unsafe packed.scales.unsafeMutableAddress()
    var failed = HostBuffer<UInt8>(count: tiles.count, in: Arena("tiles"))
    let failures = unsafe failed.unsafeMutableAddress()
    let rounding = rounding, scratch = scratch
    ThreadTeam.shared.parallel(tiles.count, workers: scratch.count) { item, worker in
      let rows = Self.rows(ofTile: tiles.lowerBound + item, of: N), first = rows.lowerBound
      let isFinite = unsafe rounding.run(
        w + first * K, rows: rows.count, columns: K, codes: codes + first * K, scales: scales + first * blocks,
        scratch: &scratch[worker].scratch)
      unsafe failures[item] = isFinite ? 0 : 1
    }
    if let item = (0..<tiles.count).first(where: { failed[$0] != 0 }) {
      let rows = Self.rows(ofTile: tiles.lowerBound + item, of: N)
      throw CalibrationError(name, "rows \(rows) of a weight hold NaN or infinity, or became so by rounding")
    }
  }
}

/// Memory of one worker: a class can lend it to the closure of a loop.
private final class ScratchBox {
  var scratch: TileRounding.Scratch
  init(_ scratch: consuming TileRounding.Scratch) { self.scratch = scratch }
}

extension RoundingPlan {
  fileprivate var tileMethod: TileRounding.Method {
    switch method {
    case .nearest: .nearest
    case .columns: .columns
    case .blocks: .blocks
    }
  }
}

// MARK: - Second moments

extension RoundingSolver {
  /// The least diagonal entry of the inverse's Cholesky factor, over their mean, that is taken for sound.
  private static let leastFlatness = 1e-4

  /// C's diagonal, after a look at all of C.
  private static func energies(of gram: Gram, _ name: String) throws(CalibrationError) -> [Double] {
    let K = gram.columns, c = unsafe gram.values.unsafeAddress()
    var bad = 0
    for i in 0..<K * K where unsafe !c[i].isFinite { bad += 1 }
    guard bad == 0 else {
      throw CalibrationError(
        name, "\(bad) of \(K * K) second moments are NaN or infinite",
        hint: "Look at the model's activations: mfqat inspect, or fewer calibration tokens")
    }
    let energies = (0..<K).map { unsafe c[$0 * K + $0] }
    if let negative = energies.firstIndex(where: { $0 < 0 }) {
      throw CalibrationError(name, "the second moment of channel \(negative) is negative: \(energies[negative])")
    }
    return energies
  }

  /// The factor of the damped moments; damping is raised tenfold, up to 1, until it is sound.
  ///
  /// Dead channels couple with nothing: any positive diagonal entry rounds their (zero) weights to zero. They get the mean
  /// of the living, so that the numbers' range stays what it is.
  private static func factor(
    _ gram: Gram, _ energies: [Double], _ order: [Int32]?, _ damping: Double, _ name: String,
    _ report: inout FactorReport, _ arena: Arena
  ) throws(CalibrationError) -> FeedbackFactor {
    let living = energies.filter { $0 > 0 }
    let mean = living.isEmpty ? 1 : living.reduce(0, +) / Double(living.count)
    report.damping = damping
    while true {
      let diagonal = energies.map { ($0 > 0 ? $0 : mean) + report.damping * mean }
      let factor = FeedbackFactor(gram.values, diagonal: diagonal, order: order, in: arena)
      if let factor, factor.flatness >= leastFlatness { return factor }
      let reason: DampingRaise.Reason = factor.map { .flat($0.flatness) } ?? .indefinite
      guard report.damping < 1 else {
        throw CalibrationError(
          name, "second moments cannot be factored: \(DampingRaise(from: report.damping, to: .nan, reason: reason))",
          hint: "Use more calibration tokens")
      }
      let raised = min(1, max(1e-3, 10 * report.damping))
      report.raises.append(DampingRaise(from: report.damping, to: raised, reason: reason))
      report.damping = raised
    }
  }
}
