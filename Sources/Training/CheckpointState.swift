import Checkpoints
import Communication
import Quantization
import Settings
import Text

/// Where a run stood, in the manifest of its checkpoint: what a resumed run must know besides tensors.
struct CheckpointState {
  let step: Int
  /// That wrote it; any number can read it.
  let ranks: Int
  /// How they lay on nodes.
  let nodes: String
  let identity: RunIdentity
  /// What follows from the step and the settings: see `Trainer.position`.
  let position: JSONValue

  init(_ trainer: Trainer, _ identity: RunIdentity) {
    step = trainer.stepsDone
    ranks = trainer.communicator.size
    nodes = trainer.communicator.nodeDescription
    self.identity = identity
    position = trainer.position
  }

  init(_ metadata: JSONObject, path: String) throws(CheckpointError) {
    guard let step = metadata["step"]?.integer, let ranks = metadata["ranks"]?.integer,
      let nodes = metadata["nodes"]?.string, let text = metadata["text"]?.string,
      let arithmetic = metadata["arithmetic"]?.string, let settings = metadata["settings"]?.string,
      let position = metadata["position"]
    else {
      throw CheckpointError(
        "resume", path: path, expected: "step, ranks, nodes, text, arithmetic, settings and position of a run",
        found: "not all of them", hint: "Use another checkpoint")
    }
    (self.step, self.ranks, self.nodes, self.position) = (step, ranks, nodes, position)
    identity = RunIdentity(
      settings: settings, text: text, model: metadata["model"]?.string ?? "", arithmetic: arithmetic)
  }

  var metadata: JSONObject {
    var object = JSONObject()
    object["step"] = .integer(step)
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
  /// What the next step will be, as this program derives it from (seed, step): a resumed run that derives another one
  /// would not be the same run.
  var position: JSONValue { position(ofStep: stepsDone) }

  func position(ofStep step: Int) -> JSONValue {
    let sample = step * configuration.training.batch
    let (epoch, place) = sample.quotientAndRemainder(dividingBy: batches.windowCount)
    return [
      "tokens": .integer(sample * batches.context), "epoch": .integer(epoch), "sample_of_epoch": .integer(place),
      "next_window": .integer(batches.windowIndex(sample: sample)),
      "next_format": .string(schedule?.label(step: step, lanes: lanes.lanes) ?? "fp32"),
      "lanes": .integer(lanes.lanes),
    ]
  }
}
