import Checkpoints
import Communication
import Quantization
import Settings
import Text

/// Where a run stood, in the manifest of its checkpoint: what a resumed run must know besides tensors.
struct CheckpointState {
  let mark: StepMark
  /// In the middle of a step: the loss of every sequence of it, so far.
  let losses: [Double]
  /// That wrote it; any number can read it.
  let ranks: Int
  /// How they lay on nodes.
  let nodes: String
  let identity: RunIdentity
  /// What follows from the mark and the settings: see `Trainer.position(at:)`.
  let position: JSONValue

  /// Collective in the middle of a step.
  init(_ trainer: Trainer, _ identity: RunIdentity) throws {
    mark = trainer.mark
    losses = mark.microBatches > 0 ? try trainer.lossSum.slotsOfAllRanks() : []
    ranks = trainer.communicator.size
    nodes = trainer.communicator.nodeDescription
    self.identity = identity
    position = trainer.position(at: mark)
  }

  init(_ metadata: JSONObject, path: String) throws(CheckpointError) {
    guard let step = metadata["step"]?.integer, let ranks = metadata["ranks"]?.integer,
      let nodes = metadata["nodes"]?.string, let text = metadata["text"]?.string,
      let arithmetic = metadata["arithmetic"]?.string, let settings = metadata["settings"]?.string,
      let position = metadata["position"], let microBatches = metadata["micro_batches"]?.integer, step >= 0,
      microBatches >= 0, let losses = metadata["losses"]?.array?.map({ $0.string.flatMap { UInt64($0, radix: 16) } }),
      !losses.contains(nil)
    else {
      throw CheckpointError(
        "resume", path: path,
        expected: "step, micro_batches, losses, ranks, nodes, text, arithmetic, settings and position of a run",
        found: "not all of them", hint: "Use another checkpoint")
    }
    mark = StepMark(step: step, microBatches: microBatches)
    self.losses = losses.map { Double(bitPattern: $0!) }
    (self.ranks, self.nodes, self.position) = (ranks, nodes, position)
    identity = RunIdentity(
      settings: settings, text: text, model: metadata["model"]?.string ?? "", arithmetic: arithmetic)
  }

  var metadata: JSONObject {
    var object = JSONObject()
    object["step"] = .integer(mark.step)
    object["micro_batches"] = .integer(mark.microBatches)
    // Bits, in hexadecimal: they enter the sum again as they are.
    object["losses"] = .array(losses.map { .string(String($0.bitPattern, radix: 16)) })
    object["ranks"] = .integer(ranks)
    object["nodes"] = .string(nodes)
    object["text"] = .string(identity.text)
    object["model"] = .string(identity.model)
    object["arithmetic"] = .string(identity.arithmetic)
    object["settings"] = .string(identity.settings)
    object["position"] = position
    return object
  }
}

extension Trainer {
  var mark: StepMark { StepMark(step: stepsDone, microBatches: microBatchesDone) }

  /// What the next step will be, as this program derives it from (seed, step): a resumed run that derives another one
  /// would not be the same run.
  func position(at mark: StepMark) -> JSONValue {
    let step = mark.step, sample = step * configuration.training.batch
    let (epoch, place) = sample.quotientAndRemainder(dividingBy: batches.windowCount)
    return [
      "tokens": .integer(sample * batches.context), "epoch": .integer(epoch), "sample_of_epoch": .integer(place),
      "next_window": .integer(batches.windowIndex(sample: sample)),
      "next_format": .string(schedule?.label(step: step, lanes: lanes.lanes) ?? "fp32"),
      "lanes": .integer(lanes.lanes), "micro_batches_of_next_step": .integer(mark.microBatches),
    ]
  }
}
