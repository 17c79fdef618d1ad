package import Communication
import Kernels
package import Tensors

/// Σ xᵀx of one input over the sequences of all ranks, and where asked Σ eᵀx with an error e of the layer's output, with the
/// same bits on any number of ranks.
///
/// Each sequence's moments are fp32 products of its own tokens, rounded to integers on a grid that all ranks share and
/// summed as integers, which no order changes. The grid follows the first sequence: channel j's energy there has 36 bits,
/// which leaves 15 for sequences that are louder and 12 for their number. Where that is not enough the pass runs again on
/// the grid of the loudest.
package final class MomentAccumulator {
  /// So many sequences fit the integers.
  package static let sequenceLimit = 1 << 12
  private static let firstBits = 36, secondBits = 48

  private let communicator: Communicator
  private let input: Channels
  private let multiply: MomentProduct
  private var product: Tensor  // (K, K)
  private var sums: HostBuffer<Int64>
  private let output: Channels?
  private var crossProduct: Tensor  // (N, K)
  private var crossSums: HostBuffer<Int64>
  private var hasGrid = false
  private var fits = true
  private var isFinite = true
  private var outputIsFinite = true

  /// Energies and grid of some channels.
  private final class Channels {
    var scales: HostBuffer<Double>
    var loudest: HostBuffer<Int64>  // bits of the largest energy of each
    var last: [Double] = []

    init(_ count: Int, in arena: Arena) {
      scales = HostBuffer(count: count, in: arena)
      loudest = HostBuffer(count: count, in: arena)
      last = Array(repeating: 0, count: count)
    }

    func take(_ energies: [Double]) {
      last = energies
      for (j, energy) in energies.enumerated() { loudest[j] = max(loudest[j], Int64(bitPattern: energy.bitPattern)) }
    }

    /// energy · scale² has about `bits` bits.
    func setScales(bits: Int, of energies: [Double]) {
      for (j, value) in energies.enumerated() {
        scales[j] = value > 0 && value.isFinite
          ? Double(sign: .plus, exponent: (bits - Int(value.exponent)) >> 1, significand: 1) : 0
      }
    }

    var loudestEnergies: [Double] {
      (0..<loudest.count).map { Double(bitPattern: UInt64(bitPattern: loudest[$0])) }
    }
  }

  /// - Parameters:
  ///   - tokens: of every sequence.
  ///   - outputs: N, to sum Σ eᵀx as well.
  package init(
    columns K: Int, tokens T: Int, outputs N: Int? = nil, on communicator: Communicator, in arena: Arena
  ) {
    self.communicator = communicator
    input = Channels(K, in: arena)
    output = N.map { Channels($0, in: arena) }
    multiply = MomentProduct(tokens: T, columns: K, in: arena)
    product = Tensor(rows: K, columns: K, in: arena)
    sums = HostBuffer(count: K * K, in: arena)
    crossProduct = Tensor(rows: N ?? 0, columns: K, in: arena)
    crossSums = HostBuffer(count: (N ?? 0) * K, in: arena)
  }

  /// Collective.
  ///
  /// - Parameters:
  ///   - name: of the input, for messages.
  ///   - pass: adds every sequence of this rank, the root's first one being sequence 0. It may be called a second time and
  ///     has to add the same, every sequence, whatever its numbers are: the first one added is where ranks agree on the grid.
  package func gram(
    _ name: String, tokens: Int, in arena: Arena, pass: (MomentAccumulator) throws -> Void
  ) throws -> Gram {
    try run(pass)
    try communicator.onEveryRank {
      guard isFinite else { throw Self.notFinite(name) }
      guard outputIsFinite else { throw Self.notFinite(name + ", or the output computed from it") }
    }
    if try communicator.agree(on: !fits) {
      for channels in [input, output].compactMap({ $0 }) {
        try communicator.maximum(&channels.loudest)
        channels.setScales(bits: Self.secondBits, of: channels.loudestEnergies)
      }
      try run(pass)
      guard try !communicator.agree(on: !fits) else { preconditionFailure("\(name): moments do not fit their own grid") }
    }
    try communicator.sum(&sums)
    try communicator.sum(&crossSums)
    let gram = Gram(columns: product.columns, tokens: tokens, in: arena)
    SecondMoments.values(&gram.values, from: sums, scales: input.scales)
    return gram
  }

  /// Σ eᵀx (N, K), after ``gram(_:tokens:in:pass:)``.
  package func crossMoments(in arena: Arena) -> HostBuffer<Double> {
    guard let output else { preconditionFailure("no output errors were summed") }
    var values = HostBuffer<Double>(count: crossSums.count, in: arena)
    SecondMoments.crossValues(&values, from: crossSums, rowScales: output.scales, columnScales: input.scales)
    return values
  }

  private func run(_ pass: (MomentAccumulator) throws -> Void) throws {
    for i in 0..<sums.count { sums[i] = 0 }
    for i in 0..<crossSums.count { crossSums[i] = 0 }
    (fits, isFinite, outputIsFinite) = (true, true, true)
    try pass(self)
    // A rank without sequences takes part in agreeing on the grid.
    if !hasGrid { try agreeOnGrid() }
  }

  /// A sequence's input.
  package func add(_ x: borrowing Tensor) throws {
    take(x)
    if !hasGrid { try agreeOnGrid() }
    if !SecondMoments.accumulate(&sums, moments: product, scales: input.scales) { fits = false }
  }

  /// A sequence's input, and the error of the layer's output on it.
  package func add(_ x: borrowing Tensor, error e: borrowing Tensor) throws {
    take(x)
    output?.take(SecondMoments.energies(of: e))
    if !hasGrid { try agreeOnGrid() }
    if !SecondMoments.accumulate(&sums, moments: product, scales: input.scales) { fits = false }
    guard let output else { preconditionFailure("no room for output errors") }
    Linear.backwardWeight(&crossProduct, from: e, input: x)
    for (n, energy) in output.last.enumerated() {
      if !energy.isFinite { outputIsFinite = false }
      if energy > 0 && output.scales[n] == 0 { fits = false }
    }
    if !SecondMoments.accumulateCross(
      &crossSums, moments: crossProduct, rowScales: output.scales, columnScales: input.scales)
    {
      fits = false
    }
  }

  private func take(_ x: borrowing Tensor) {
    multiply.compute(&product, of: x)
    let K = product.columns, moments = product.rows(0..<K), values = moments.span
    let energies = (0..<K).map { Double(values[$0 * K + $0]) }
    if !energies.allSatisfy(\.isFinite) { isFinite = false }
    input.take(energies)
  }

  /// The root's first sequence is sequence 0 whatever the number of ranks.
  private func agreeOnGrid() throws {
    for channels in [input, output].compactMap({ $0 }) {
      if communicator.isRoot { channels.setScales(bits: Self.firstBits, of: channels.last) }
      try communicator.broadcast(&channels.scales)
    }
    hasGrid = true
  }

  static func notFinite(_ name: String) -> CalibrationError {
    CalibrationError(
      name, "holds NaN or infinity",
      hint: "Weights of an earlier layer, or of the model, are at fault: `mfqat verify` and `mfqat evaluate` of the source tell.")
  }
}
