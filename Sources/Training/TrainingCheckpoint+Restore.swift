import Checkpoints
import Communication
import Settings
import Transformer

extension TrainingCheckpoint {
  /// Fills this rank's part of the state; touches no other rank, publishes nothing.
  func restore(_ trainer: Trainer, threads: Int) throws {
    let (container, state) = try opened()
    try requireSameModel(container, trainer)
    guard mark.step <= trainer.configuration.training.steps, mark.microBatches < trainer.microBatchesPerStep else {
      throw ModelError(
        path, "\(mark.words) is beyond a run of \(trainer.configuration.training.steps) steps of "
          + "\(trainer.microBatchesPerStep) micro-batches", hint: "Use another checkpoint.")
    }
    let all = trainer.configuration.training.batch
    guard state.position.serialized() == trainer.position(at: mark).serialized(),
      state.losses.count == (mark.microBatches > 0 ? all : 0)
    else {
      throw ModelError(
        path, "\(mark.words) stands at another place of the text or of the schedules than this program derives for it",
        hint: "Resume with the version that wrote the checkpoint, or start a new run from these weights as model.path.")
    }
    let gradient = mark.microBatches > 0 ? trainer.gradientRows : []
    try container.read(trainer.ownedState + gradient + trainer.wholeReplica, threads: threads)
    if mark.microBatches > 0 { trainer.restoreLosses(state.losses) }
    trainer.weights.mastersReplaced()
    if trainer.weights.messages.replica != nil { trainer.weights.messages.replicaRestored() }
    if hasFeedback(for: trainer, container, state) { try container.read(trainer.ownFeedback, threads: threads) }
    (trainer.stepsDone, trainer.microBatchesDone) = (mark.step, mark.microBatches)
  }

  /// Feedback of other ranks or nodes fits nowhere, and what is saved after a failed step has none: then it begins at
  /// zero, and the run says so.
  func hasFeedback(for trainer: Trainer, _ container: TensorContainer, _ state: CheckpointState) -> Bool {
    state.ranks == trainer.communicator.size && state.nodes == trainer.communicator.nodeDescription
      && trainer.ownFeedback.allSatisfy { container.tensor($0.name) != nil }
  }

  private func requireSameModel(_ container: TensorContainer, _ trainer: Trainer) throws {
    let name = HuggingFaceFolder.configurationFile
    let configuration = try ModelConfiguration(json: container.sidecar(name), source: path + "/" + name)
    guard configuration == trainer.model else {
      throw ModelError(
        path, "the checkpoint is of another model than the run starts from now",
        hint: "Compare its config.json with that of model.path.")
    }
  }
}
