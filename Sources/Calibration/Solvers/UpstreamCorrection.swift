import Kernels
import Tensors

/// Moves a weight so that, on the inputs that rounded layers before it produce, the layer's output comes closest to what the
/// full-precision model has there: asymmetric calibration (GPTAQ, Li et al., arXiv 2504.02692), before rounding instead of
/// column by column.
///
/// With x the full-precision input, x̂ the one of the rounded model, and e the error of the output that the unrounded weight
/// makes, which for o and down includes the error of the residual stream they add to:
///
///     e = (r + W x) - (r̂ + W x̂)        W' = W + (Σ e x̂ᵀ) (Σ x̂ x̂ᵀ + λI)⁻¹
///
/// W' is the linear regression of the full-precision output on x̂; the solver then rounds W' on x̂. Rows are solved in tiles
/// of 128, so that results depend neither on ranks nor on threads.
enum UpstreamCorrection {
  /// W' - W for the rows of `tiles`, into their places of `cross`, which holds Σ e x̂ᵀ (N, K).
  ///
  /// - Parameter damping: λ relative to the mean energy of living channels, raised tenfold up to 1 where the damped moments
  ///   are not positive definite.
  /// - Returns: the raises; they are the same on every rank.
  /// - Throws: where no damping helps, naming the input.
  static func solve(
    _ cross: inout HostBuffer<Double>, rows N: Int, gram: Gram, damping: Double, tiles: Range<Int>, name: String
  ) throws(CalibrationError) -> [DampingRaise] {
    let K = gram.columns
    let energies = (0..<K).map(gram.energy)
    let living = energies.filter { $0 > 0 }
    let mean = living.isEmpty ? 1 : living.reduce(0, +) / Double(living.count)
    var damping = damping, raises: [DampingRaise] = []
    while true {
      let diagonal = energies.map { ($0 > 0 ? $0 : mean) + damping * mean }
      if let equations = NormalEquations(gram.values, diagonal: diagonal, in: Arena("normal equations")) {
        let memory = cross.region(0..<cross.count)
        ThreadTeam.shared.parallel(tiles.count) { item, _ in
          var own = memory.region(0..<memory.count)
          equations.solve(&own, rows: RoundingSolver.rows(ofTile: tiles.lowerBound + item, of: N))
        }
        return raises
      }
      guard damping < 1 else {
        throw CalibrationError(
          name, "its second moments are not positive definite, however damped", hint: "Calibrate on more tokens.")
      }
      let raised = min(1, max(1e-3, 10 * damping))
      raises.append(DampingRaise(from: damping, to: raised, reason: .indefinite))
      damping = raised
    }
  }
}
