import Kernels
import Quantization
import Tensors

/// A rotation of a whole axis for weights: ``FullHadamard`` with memory of its own, on all threads.
///
/// R = diag(s) · H / sqrt(size). Rows know nothing of each other, so results do not depend on threads.
struct HadamardRotation: Sendable {
  let size: HadamardSize
  private let transform: FullHadamard

  /// - Parameters:
  ///   - subject: what has the axis, for the message: `hidden_size`.
  ///   - seed: of random signs; nil for none.
  init(_ length: Int, of subject: String, seed: UInt64?, stream: String) throws(CalibrationError) {
    guard let size = HadamardSize(length) else {
      throw CalibrationError(
        subject, "no Hadamard matrix is known for \(length) elements", hint: "Use a rotation in blocks, or none.")
    }
    self.size = size
    let matrix = size.matrix
    transform = FullHadamard(
      matrix: matrix.entries, order: size.order, power: size.power,
      signs: seed.map { RotationSigns(seed: $0, stream: stream).masks(count: length) } ?? [])
  }

  /// x <- x R on (T, size), or on any tensor whose rows are whole runs of `size`: each run by itself.
  func rotateRows(_ x: inout Tensor, inverse: Bool = false) {
    precondition(x.columns % size.size == 0, "rotation of \(size.size) over rows of \(x.columns)")
    let runs = x.count / size.size
    guard runs > 0 else { return }
    let arena = Arena("rotation"), team = ThreadTeam.shared
    let scratch = Tensor(rows: team.threads, columns: transform.scratchCount, in: arena)
    let values = x.region(0, rows: runs, columns: size.size)
    let grain = max(1, (1 << 18) / size.size)
    team.parallel((runs + grain - 1) / grain, workers: scratch.rows) { piece, worker in
      var rows = values.rows(piece * grain..<min(runs, (piece + 1) * grain))
      var memory = scratch.rows(worker..<worker + 1)
      transform.rotateRows(&rows, inverse: inverse, scratch: &memory)
    }
  }

  /// x <- Rᵀ x on (size, N); the inverse x <- R x.
  func rotateColumns(_ x: inout Tensor, inverse: Bool = false) {
    let arena = Arena("rotation")
    var scratch = Tensor(rows: 1, columns: transform.scratchCount, in: arena)
    transform.rotateColumns(&x, inverse: inverse, scratch: &scratch)
  }
}
