import Checkpoints
import Communication
import Transformer

/// One checkpoint on its way to the disk. All ranks make it in the same step and finish it in the same step.
///
///     begin     the root makes STEP.tmp-ID with the small files; every rank sees it there
///     write     every rank its own rows, into files of its own; on a thread, or at once
///     finish    the root collects what was written, writes the manifest; ranks may read it back; the root renames
///
/// Nothing appears under the final name unless every rank has brought everything to its device.
final class CheckpointSave {
  /// Of the root; what a step paid for it is added by whoever waits.
  struct Result {
    let mark: StepMark
    /// fp32 values of all ranks, and what they took on the device.
    var contentBytes = 0, storedBytes = 0
    /// From the first byte to the last rank's fsync.
    var writingSeconds = 0.0
    /// The same state was there already.
    var isKept = false
    /// What could not be tidied up; the checkpoint is there.
    var complaints: [String] = []
  }

  let mark: StepMark
  private let trainer: Trainer
  private let folder: String
  /// Of each plane a thread holds a chunk: less than for anchors, which are written once.
  private let options = ContainerOptions(chunkBytes: 1 << 20)
  private let threads: Int
  private let verifies: Bool
  /// On the root.
  private var directory: ContainerWriter?
  private let temporary: String
  private var written: BackgroundThread<(part: ContainerPart, seconds: Double)>?
  private var outcome: Swift.Result<(part: ContainerPart, seconds: Double), any Error>?

  private var communicator: Communicator { trainer.communicator }
  private var target: String { folder + "/" + mark.name }
  /// Where a checkpoint is completed if one of its step is there already.
  private var second: String { target + Self.secondMark }
  private static let secondMark = ".tmp-second"

  /// Collective.
  ///
  /// - Parameters:
  ///   - copy: where the state is copied to for a thread to write; nil to write it at once.
  ///   - verifies: whether what was written is read back before it counts.
  ///   - afterFailure: whether a step has failed since the state was good.
  init(
    _ trainer: Trainer, origin: ModelOrigin, identity: RunIdentity, in folder: String, threads: Int, copy: StateCopy?,
    verifies: Bool = false, afterFailure: Bool = false
  ) throws {
    let communicator = trainer.communicator
    mark = trainer.mark
    (self.trainer, self.folder, self.threads, self.verifies) = (trainer, folder, threads, verifies)
    isInBackground = copy != nil
    trainer.note(.saving)
    try trainer.updateReplica()
    let target = folder + "/" + trainer.mark.name
    var metadata = try CheckpointState(trainer, identity).metadata
    origin.source?.coordinates.state(in: &metadata)
    var directory: ContainerWriter?
    temporary = try communicator.fromRoot {
      let place = FileBytes.exists(target) ? target + Self.secondMark : target
      let writer = try ContainerWriter(directory: place, kind: .checkpoint, metadata: metadata)
      for file in origin.sidecars { try writer.addSidecar(name: file.name, bytes: file.bytes) }
      directory = writer
      FaultPoint.beforeFirstByte.reached()
      return writer.temporary
    }
    self.directory = directory
    do {
      try communicator.onEveryRank { try Self.requireShared(temporary, rank: communicator.rank) }
      copy?.take()
    } catch {
      directory?.abandon()
      throw error
    }
    write(copy?.rows ?? trainer.savedState(afterFailure: afterFailure))
  }

  /// The root's directory must be there for everybody: its name is new, so nothing older can be taken for it.
  private static func requireShared(_ temporary: String, rank: Int) throws {
    guard FileBytes.isDirectory(temporary) else {
      throw RunDirectoryError(
        path: temporary, problem: "rank 0 has made this folder, rank \(rank) does not see it",
        hint: "All nodes must share the file system of logging.directory.")
    }
  }

  // MARK: Writing

  /// Makes no MPI call.
  private func write(_ rows: [DenseRows]) {
    let temporary = temporary, rank = communicator.rank, threads = threads, options = options
    let work: @Sendable () throws -> (part: ContainerPart, seconds: Double) = {
      let start = PhaseClock.now
      let part = try ContainerPartWriter.write(rows, into: temporary, writer: rank, threads: threads, options: options)
      FaultPoint.dataSynchronized.reached()
      return (part, PhaseClock.now - start)
    }
    if isInBackground { written = try? BackgroundThread(work) }
    // At once where that was asked for, or where the system allows no thread.
    if written == nil { outcome = Swift.Result { try work() } }
  }

  let isInBackground: Bool
  /// Whether this rank has written everything, or failed.
  var isWritten: Bool { written?.isFinished ?? true }

  /// Collective: waits for every rank's writing, commits.
  ///
  /// - Throws: `CollectiveFailure` if any rank could not; then nothing is left of it, unless it was the very last thing that
  ///   failed, the parent's synchronization: then it is there, and may not survive a loss of power.
  func finish() throws -> Result {
    trainer.note(.saving)
    if let written { outcome = Swift.Result { try written.join() } }
    written = nil
    do {
      let own = try communicator.onEveryRank { try outcome!.get() }
      let parts = try communicator.gatherStrings(String(decoding: own.part.json, as: UTF8.self))
      let slowest = try communicator.gatherStrings(String(own.seconds)).compactMap(Double.init).max() ?? own.seconds
      var result = Result(mark: mark, writingSeconds: slowest)
      try communicator.onRoot { try seal(parts, &result) }
      if verifies {
        try communicator.onEveryRank {
          try ContainerWriter.verify(temporary, share: communicator.rank, of: communicator.size, threads: threads)
        }
      }
      try communicator.onRoot { try commit(&result) }
      return result
    } catch {
      abandon()
      throw error
    }
  }

  /// Waits for this rank's writing and removes what was written.
  func abandon() {
    if let written { _ = try? written.join() }
    written = nil
    directory?.abandon()
  }

  private func seal(_ parts: [String], _ result: inout Result) throws {
    guard let directory else { return }
    for part in parts {
      let part = try ContainerPart(json: Array(part.utf8))
      result.contentBytes += part.tensors.reduce(0) { $0 + $1.contentSize }
      result.storedBytes += part.files.reduce(0) { $0 + $1.size }
      directory.add(part)
    }
    FaultPoint.beforeManifest.reached()
    try directory.seal()
  }

  private func commit(_ result: inout Result) throws {
    try directory?.commit()
    if FileBytes.exists(second) { try replaceOld(&result) }
    FaultPoint.afterRename.reached()
  }

  /// A resumed run has come again to a step that has a checkpoint. If that one is whole and holds the same tensors, it
  /// stays. Else the new one takes its name, at one instant, and the old one is set aside.
  private func replaceOld(_ result: inout Result) throws {
    let old = try? TensorContainer(target), isWhole = (try? old?.verify())?.isEmpty == true
    if isWhole, let old, try Self.isSame(old, try TensorContainer(second)) {
      result.isKept = true
      do { try CommittedDirectories.remove(second) } catch { result.complaints.append("\(error)") }
      return
    }
    try CommittedDirectories.exchange(second, target)
    do {
      try CommittedDirectories.setAside(second, named: target, as: isWhole ? .superseded : .corrupt)
    } catch { result.complaints.append("\(error)") }
  }

  private static func isSame(_ old: TensorContainer, _ new: TensorContainer) throws -> Bool {
    guard Set(old.tensors.map(\.name)) == Set(new.tensors.map(\.name)) else { return false }
    return try new.tensors.allSatisfy { try old.contentHashes($0.name) == new.contentHashes($0.name) }
  }
}
