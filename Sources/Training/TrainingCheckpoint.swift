import Checkpoints
import Transformer

/// A training checkpoint: a tensor container of kind `checkpoint`.
///
///   step-000500/  manifest.json                  tensors, hashes, where the run stood; written last
///                 data-RRRRR-NNNNN.zst           what writer R owns: byte planes of fp32 values
///                 config.json  tokenizer.json …  as in a model folder
///
/// A signal can leave a step between two of its micro-batches: `step-000500+003` holds gradients summed so far as well.
///
/// Tensors are keyed by name and rows (see `CheckpointTensors`), so a run resumes on any number of ranks. Every number
/// of a run is a function of (seed, step, position): the step *is* the state of data order, formats and schedules. What
/// error feedback keeps is a rank's own, and only fits the same ranks on the same nodes.
public struct TrainingCheckpoint: Sendable, Hashable {
  public let path: String
  let mark: StepMark

  /// Steps done.
  public var step: Int { mark.step }

  init(path: String, mark: StepMark) {
    self.path = path
    self.mark = mark
  }

  /// The checkpoint at `path`, by its name; nil for any other name.
  public init?(path: String) {
    guard let name = path.split(separator: "/").last, let mark = StepMark(name: String(name)) else { return nil }
    self.init(path: path, mark: mark)
  }

  /// Checkpoints of a run, newest first.
  static func all(in folder: String) -> [TrainingCheckpoint] {
    FileBytes.names(in: folder)
      .compactMap { TrainingCheckpoint(path: folder + "/" + $0) }
      .sorted { $0.mark > $1.mark }
  }

  // MARK: Opening

  /// The container and where the run stood. Contents are checked when they are read.
  func opened() throws -> (container: TensorContainer, state: CheckpointState) {
    if !TensorContainer.isContainer(path), FileBytes.exists(path + "/training.json") {
      throw CheckpointError(
        "resume", path: path, expected: ContainerManifest.fileName, found: "training.json",
        hint: "An earlier version wrote this checkpoint: resume with that version, or train on from its weights as model.path"
      ).ofAnotherVersion
    }
    let container = try TensorContainer(path)
    let manifest = path + "/" + ContainerManifest.fileName
    guard container.kind == .checkpoint else {
      throw CheckpointError("resume", path: manifest, expected: "a checkpoint", found: "an \(container.kind.name)")
    }
    let state = try CheckpointState(container.metadata, path: manifest)
    guard state.mark == mark else {
      throw CheckpointError(
        "resume", path: manifest, expected: mark.words, found: state.mark.words,
        hint: "The folder was renamed: use another checkpoint")
    }
    return (container, state)
  }

  /// Reads everything: throws for the first thing that is not as it was written.
  ///
  /// - Parameters:
  ///   - share: the part that this rank checks, of as many as there are ranks.
  ///   - threads: that read and check.
  public func verify(share: Int = 0, of shares: Int = 1, threads: Int = 1) throws {
    let (container, _) = try opened()
    guard let problem = try container.verify(share: share, of: shares, threads: threads).first else { return }
    throw CheckpointError("use", path: path, found: problem.description)
  }
}
