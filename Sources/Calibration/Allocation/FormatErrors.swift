public import Communication
public import Formats
import Kernels
public import Tensors
public import Transformer

/// t²_{g,j} = ‖Q_j(W_g) - W_g‖² / ‖W_g‖² of every group in every candidate format.
///
/// Whoever rounds otherwise than to nearest, or after a rotation, brings a table of his own.
public struct FormatErrors: Sendable, Hashable {
  public let formats: [MXFormat]
  /// Group by group, in the order of `formats`.
  public let squares: [[Double]]

  public init(formats: [MXFormat], squares: [[Double]]) {
    precondition(!formats.isEmpty && Set(formats).count == formats.count, "candidates \(formats)")
    precondition(squares.allSatisfy { $0.count == formats.count && $0.allSatisfy { $0 >= 0 && $0.isFinite } },
      "a finite squared error of every group in each of \(formats.count) formats")
    self.formats = formats
    self.squares = squares
  }

  /// Errors of rounding to nearest. Groups are shared among the ranks; every rank has the same table. Collective.
  public static func ofRounding(
    _ parameters: Parameters, groups: [AllocationGroup], formats: [MXFormat], rule: ScaleRule = .floor,
    on communicator: Communicator, in arena: Arena
  ) throws -> FormatErrors {
    let slots = OrderedSum(slots: max(1, groups.count * formats.count), on: communicator, in: arena)
    let tensors = groups.flatMap(\.tensors)
    let scratch = Tensor(rows: 1, columns: tensors.map(\.count).max() ?? 0, in: arena)
    var rows = HostBuffer<Double>(count: tensors.map(\.rows).max() ?? 0, in: arena)
    for index in stride(from: communicator.rank, to: groups.count, by: communicator.size) {
      let group = groups[index]
      for (column, format) in formats.enumerated() {
        var error = 0.0, norm = 0.0
        for spec in group.tensors {
          let weights = parameters.units[group.unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
          var rounded = scratch.region(0, rows: spec.rows, columns: spec.columns)
          BlockCodec.roundTrip(&rounded, of: weights, format: format, rule: rule)
          error += unsafe rowSquares(weights, minus: rounded.unsafeAddress(), into: &rows)
          norm += rowSquares(weights, minus: nil, into: &rows)
        }
        slots.place(norm > 0 ? error / norm : 0, at: index * formats.count + column)
      }
    }
    let all = try slots.slotsOfAllRanks()
    if let bad = all.prefix(groups.count * formats.count).firstIndex(where: { !$0.isFinite }) {
      throw CalibrationError(groups[bad / formats.count].name, "the weights hold NaN or infinity", hint: "No format can hold them.")
    }
    return FormatErrors(
      formats: formats,
      squares: groups.indices.map { Array(all[$0 * formats.count..<($0 + 1) * formats.count]) })
  }
}
