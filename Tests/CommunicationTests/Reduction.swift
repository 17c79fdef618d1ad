import Communication
import Tensors

/// A reducer with a sink of its own: this rank's rows of every unit's sum, kept, and a hook.
final class Reduction {
  let units: [RowShards]
  let reducer: GradientReducer
  let sums: KeptSums
  let communicator: Communicator
  var rank: Int { communicator.rank }
  private let arena: Arena

  init(
    _ communicator: Communicator, _ units: [[RowShards.Matrix]] = [awkwardUnit], lanes: Int? = nil,
    options: GradientWireOptions, in arena: Arena = Arena("test")
  ) throws {
    let shards = units.map { RowShards($0, ranks: communicator.size) }
    self.units = shards
    self.communicator = communicator
    self.arena = arena
    sums = KeptSums(shards, rank: communicator.rank, in: arena)
    reducer = try GradientReducer(
      communicator, shards, lanes: lanes ?? communicator.size, options: options, sink: sums, in: arena)
  }

  /// - Parameter values: of this rank's gradient; nil where it has none, and passes whatever its buffer holds.
  func start(
    _ values: [Float]?, unit: Int = 0, contributors: Int? = nil, firstLane: Int? = nil, overwrite: Bool = true,
    step: Int = 0, number: Int = 0
  ) throws {
    let given = values ?? .init(repeating: .nan, count: units[unit].elementCount)
    var gradient = tensor(given, in: arena)
    try reducer.reduce(
      &gradient, unit: unit, of: units[unit], contributors: contributors ?? communicator.size, firstLane: firstLane,
      overwrite: overwrite, step: step, number: number)
    // The reducer has copied what it needs: the gradient is free again.
    if communicator.size > 1 { fill(&gradient, with: .nan) }
  }

  /// One gradient a rank, until it has arrived.
  func sum(_ values: [Float]?, unit: Int = 0, contributors: Int? = nil, step: Int = 0) throws -> [Float] {
    try start(values, unit: unit, contributors: contributors, step: step)
    try reducer.drain()
    return sums.values(ofUnit: unit)
  }
}

/// A sink that keeps the sums, and the order in which contributions came.
final class KeptSums: GradientSink {
  private let gradients: [TensorBox]
  /// Unit and lane of every contribution.
  private(set) var seen: [(unit: Int, lane: Int?)] = []
  var hook: ((_ lane: Int?, _ value: Float) -> Float)?

  init(_ units: [RowShards], rank: Int, in arena: Arena) {
    gradients = units.map { unit in
      let box = TensorBox(rows: 1, columns: unit.elementCount(ofRank: rank), in: arena)
      fill(&box.values, with: .nan)  // what the first contribution must overwrite
      return box
    }
  }

  func withGradient(ofUnit unit: Int, _ body: (inout Tensor) -> Void) { body(&gradients[unit].values) }

  func adjust(_ contribution: inout Tensor, unit: Int, lane: Int?) {
    seen.append((unit, lane))
    guard let hook else { return }
    var span = contribution.mutableSpan
    for index in 0..<span.count { span[index] = hook(lane, span[index]) }
  }

  func values(ofUnit unit: Int) -> [Float] {
    bits(gradients[unit].values).map { Float(bitPattern: $0) }
  }
}

private func fill(_ tensor: inout Tensor, with value: Float) {
  var span = tensor.mutableSpan
  for index in 0..<span.count { span[index] = value }
}

/// A rank's rows of a unit in full layout, by the definition.
func shard<Element>(_ full: [Element], of unit: RowShards, rank: Int) -> [Element] {
  var rows: [Element] = []
  var offset = 0
  for matrix in unit.matrices {
    let owned = matrix.rows * rank / unit.ranks..<matrix.rows * (rank + 1) / unit.ranks
    rows += full[offset + owned.lowerBound * matrix.columns..<offset + owned.upperBound * matrix.columns]
    offset += matrix.elementCount
  }
  return rows
}

extension [Float] {
  var bits: [UInt32] { map(\.bitPattern) }
}
