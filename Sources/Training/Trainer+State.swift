import Communication
import Formats
import Quantization
import Tensors
package import Transformer

/// What checkpoints and the anchor are made of.
extension Trainer {
  package enum StateKind { case master, firstMoment, secondMoment }

  /// Whole tensors, unit by unit, on every rank. Collective; uses the gradient buffers, which are idle between steps.
  package func forEachGatheredUnit(
    _ kind: StateKind, _ body: (_ spec: ParameterSpec, _ values: Span<Float>) throws -> Void
  ) throws {
    for (index, unit) in state.units.enumerated() {
      note(.saving, unit: index)
      let full = gradients.units[index]
      switch kind {
      case .master: try weights.gatherRows(unit.master, ofUnit: index, into: &full.flat)
      case .firstMoment: try weights.gatherRows(unit.firstMoment, ofUnit: index, into: &full.flat)
      case .secondMoment: try weights.gatherRows(unit.secondMoment, ofUnit: index, into: &full.flat)
      }
      try communicator.onEveryRank {
        for spec in unit.layout.parameters {
          let values = full.flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
          try body(spec, values.span)
        }
      }
    }
  }

  /// Lets the replica catch up with the last update, which its next use would do as well. Collective; does nothing on other
  /// wires.
  package func updateReplica() throws {
    guard weights.messages.replica != nil else { return }
    try weights.begin(EmptyCollection<MXFormat?>(), training: false)
    for unit in state.units.indices { try weights.bring(unit) }
  }

  /// The codes of the masters in `format`, tensor by tensor, on every rank. Collective.
  func forEachPackedUnit(
    _ format: MXFormat, _ body: (_ spec: ParameterSpec, _ codes: Span<UInt8>, _ scales: Span<UInt8>) throws -> Void
  ) throws {
    for index in state.units.indices {
      note(.saving, unit: index)
      try weights.gatherCodes(ofUnit: index, in: format)
      try communicator.onEveryRank { try weights.forEachTensor(ofUnit: index, body) }
    }
  }
}
