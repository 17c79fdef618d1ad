import Communication
import Kernels
import Tensors

/// Mean and largest magnitude of every channel of one input, over the sequences of all ranks, added in their order.
final class ChannelMagnitudes {
  let columns: Int
  private let sequences: Int
  private var sums: HostBuffer<Double>  // (sequences, K)
  private var largest: HostBuffer<Double>

  init(columns: Int, sequences: Int, in arena: Arena) {
    self.columns = columns
    self.sequences = sequences
    sums = HostBuffer(count: sequences * columns, in: arena)
    largest = HostBuffer(count: sequences * columns, in: arena)
  }

  /// - Parameter sequence: its number among those of all ranks; each is added once, by one rank.
  func add(_ x: borrowing Tensor, sequence: Int) {
    SecondMoments.magnitudes(of: x, sums: &sums, largest: &largest, at: sequence * columns)
  }

  /// Collective.
  func finish(
    _ name: String, tokens: Int, on communicator: Communicator
  ) throws -> (means: [Float], maxima: [Float]) {
    try communicator.sumDisjoint(&sums)
    try communicator.sumDisjoint(&largest)
    return try communicator.onEveryRank {
      var means: [Float] = [], maxima: [Float] = []
      for j in 0..<columns {
        var sum = 0.0, top = 0.0
        for s in 0..<sequences {
          sum += sums[s * columns + j]
          top = max(top, largest[s * columns + j])
        }
        guard sum.isFinite else { throw MomentAccumulator.notFinite(name) }
        means.append(Float(sum / Double(tokens)))
        maxima.append(Float(top))
      }
      return (means, maxima)
    }
  }
}
