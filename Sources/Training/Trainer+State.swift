import Checkpoints
import Communication
import Formats
import Quantization
import Settings
import Tensors
package import Transformer

/// What a checkpoint consists of, where it lies in this rank's memory.
extension Trainer {
  /// All that this rank writes into a checkpoint. A step that failed has spoiled what feedback keeps: then it is left out.
  func savedState(afterFailure: Bool = false) -> [DenseRows] {
    ownedState + ownGradient + ownReplica + (afterFailure ? [] : ownFeedback)
  }

  /// In the middle of a step, the gradient of this rank's rows as far as it is summed.
  var ownGradient: [DenseRows] { microBatchesDone > 0 ? gradientRows : [] }

  var gradientRows: [DenseRows] {
    state.units.flatMap { unit in
      unit.runs.map { run in
        let spec = unit.layout.parameters[run.matrix]
        return unsafe DenseRows(
          CheckpointTensors.gradient(spec.name), tensorRows: spec.rows, columns: spec.columns, rows: run.rows,
          values: unit.gradient.unsafeMutableAddress() + run.shardOffset)
      }
    }
  }

  /// Fills the losses of this rank's sequences from those of all. A slot belongs to the rank that adds to it next.
  func restoreLosses(_ all: [Double]) {
    for round in 0..<lanes.roundCount {
      guard let lane = lanes.lane(ofRank: communicator.rank, inRound: round) else { continue }
      for micro in 0..<configuration.training.accumulation {
        let first = firstSequence(lane: lane, micro: micro)
        for slot in first..<first + space.sequences { lossSum.place(all[slot], at: slot) }
      }
    }
  }

  /// Masters and moments of the rows that this rank owns.
  var ownedState: [DenseRows] {
    state.units.flatMap { unit in
      unit.runs.flatMap { run -> [DenseRows] in
        let spec = unit.layout.parameters[run.matrix]
        func rows(_ name: String, _ base: UnsafeMutablePointer<Float>) -> DenseRows {
          unsafe DenseRows(
            name, tensorRows: spec.rows, columns: spec.columns, rows: run.rows, values: base + run.shardOffset)
        }
        return unsafe [
          rows(CheckpointTensors.master(spec.name), unit.master.unsafeMutableAddress()),
          rows(CheckpointTensors.firstMoment(spec.name), unit.firstMoment.unsafeMutableAddress()),
          rows(CheckpointTensors.secondMoment(spec.name), unit.secondMoment.unsafeMutableAddress()),
        ]
      }
    }
  }

  /// Of the replica, which is the same on every rank, the rows that this rank owns.
  var ownReplica: [DenseRows] {
    guard let replica = weights.messages.replica else { return [] }
    return state.units.indices.flatMap { index in
      state.units[index].runs.map { run in
        let spec = state.units[index].layout.parameters[run.matrix]
        return unsafe DenseRows(
          CheckpointTensors.replica(spec.name), tensorRows: spec.rows, columns: spec.columns, rows: run.rows,
          values: replica.units[index].values.unsafeMutableAddress() + run.fullOffset)
      }
    }
  }

  /// All of it.
  var wholeReplica: [DenseRows] {
    guard let replica = weights.messages.replica else { return [] }
    return state.units.indices.flatMap { index in
      state.units[index].layout.parameters.map { spec in
        unsafe DenseRows(
          CheckpointTensors.replica(spec.name), tensorRows: spec.rows, columns: spec.columns, rows: 0..<spec.rows,
          values: replica.units[index].values.unsafeMutableAddress() + spec.offset)
      }
    }
  }

  /// What this rank's rounding has lost.
  var ownFeedback: [DenseRows] {
    var rows: [DenseRows] = []
    reducer.feedback?.forEach { name, values in
      guard values.count > 0 else { return }
      unsafe rows.append(
        DenseRows(
          CheckpointTensors.feedback(name, rank: communicator.rank), tensorRows: values.count, columns: 1,
          rows: 0..<values.count, values: values.unsafeMutableAddress()))
    }
    return rows
  }
}

/// What the anchor is made of.
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

  /// Lets the replica catch up with the last update, which its next use would do as well. Collective; does nothing on other
  /// wires.
  package func updateReplica() throws {
    guard weights.messages.replica != nil else { return }
    try weights.begin(EmptyCollection<MXFormat?>(), training: false)
    for unit in state.units.indices { try weights.bring(unit) }
  }
}
