import Communication
import Kernels
import Tensors

/// Σ xᵀx of one input over the sequences of all ranks, with the same bits on any number of them.
///
/// Each sequence's moments are fp32 products of its own tokens, rounded to integers on a grid that all ranks share and
/// summed as integers, which no order changes. The grid follows the first sequence: channel j's energy there has 36 bits,
/// which leaves 14 for sequences that are louder and 13 for their number. Where that is not enough the pass runs again on
/// the grid of the loudest.
final class MomentAccumulator {
  /// So many sequences fit the integers.
  static let sequenceLimit = 1 << 13
  private static let firstBits = 36, secondBits = 48

  let columns: Int
  private let communicator: Communicator
  private var product: Tensor
  private var sums: HostBuffer<Int64>
  private var scales: HostBuffer<Double>
  private var energies: HostBuffer<Int64>  // bits of the largest energy of each channel
  private var hasScales = false
  private var fits = true
  private var isFinite = true

  init(columns: Int, on communicator: Communicator, in arena: Arena) {
    self.columns = columns
    self.communicator = communicator
    product = Tensor(rows: columns, columns: columns, in: arena)
    sums = HostBuffer(count: columns * columns, in: arena)
    scales = HostBuffer(count: columns, in: arena)
    energies = HostBuffer(count: columns, in: arena)
  }

  static func bytes(columns: Int) -> Int { columns * columns * 12 }

  /// Collective. `pass` adds every sequence of this rank, the root's first one being sequence 0; it may be called a second
  /// time and has to add the same. It must neither communicate nor throw.
  ///
  /// - Parameter name: of the input, for messages.
  func gram(_ name: String, tokens: Int, in arena: Arena, pass: ((borrowing Tensor) throws -> Void) throws -> Void) throws -> Gram {
    hasScales = false
    for i in 0..<columns { energies[i] = 0 }
    try run(pass)
    guard try !communicator.agree(on: !isFinite) else { throw Self.notFinite(name) }
    if try communicator.agree(on: !fits) {
      try communicator.maximum(&energies)
      let loudest = (0..<columns).map { Double(bitPattern: UInt64(bitPattern: energies[$0])) }
      setScales(bits: Self.secondBits, of: loudest)
      try run(pass)
      guard try !communicator.agree(on: !fits) else { preconditionFailure("\(name): moments do not fit their own grid") }
    }
    try communicator.sum(&sums)
    let gram = Gram(columns: columns, tokens: tokens, in: arena)
    SecondMoments.values(&gram.values, from: sums, scales: scales)
    return gram
  }

  private func run(_ pass: ((borrowing Tensor) throws -> Void) throws -> Void) throws {
    for i in 0..<sums.count { sums[i] = 0 }
    (fits, isFinite) = (true, true)
    try pass { x in try add(x) }
    // A rank without sequences takes part in agreeing on the grid.
    if !hasScales { try agreeOnScales() }
  }

  private func add(_ x: borrowing Tensor) throws {
    SecondMoments.product(&product, of: x)
    for (j, energy) in diagonal.enumerated() {
      if !energy.isFinite { isFinite = false }
      energies[j] = max(energies[j], Int64(bitPattern: energy.bitPattern))
    }
    if !hasScales { try agreeOnScales() }
    if !SecondMoments.accumulate(&sums, moments: product, scales: scales) { fits = false }
  }

  /// Energies of the sequence added last.
  private var diagonal: [Double] {
    let moments = product.rows(0..<columns), values = moments.span
    return (0..<columns).map { Double(values[$0 * columns + $0]) }
  }

  /// The root's first sequence is sequence 0 whatever the number of ranks.
  private func agreeOnScales() throws {
    if communicator.isRoot { setScales(bits: Self.firstBits, of: diagonal) }
    try communicator.broadcast(&scales)
    hasScales = true
  }

  private func setScales(bits: Int, of energies: [Double]) {
    for (j, value) in energies.enumerated() {
      // energy · scale² has about `bits` bits.
      scales[j] = value > 0 && value.isFinite
        ? Double(sign: .plus, exponent: (bits - Int(value.exponent)) >> 1, significand: 1) : 0
    }
    hasScales = true
  }

  static func notFinite(_ name: String) -> CalibrationError {
    CalibrationError(
      name, "holds NaN or infinity",
      hint: "Weights of an earlier layer, or of the model, are at fault: `mfqat verify` and `mfqat evaluate` of the source tell.")
  }
}
