// Verification in pieces that threads and ranks divide: a file's bytes, a seek table, a plane, a sidecar each. A plane
// is one piece because its hash takes its chunks in order.

extension TensorContainer {
  /// Opens and verifies the container in `directory`; what keeps it from opening is one problem.
  public static func verify(
    _ directory: String, threads: Int = ParallelWork.processors,
    progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) -> [ContainerProblem] {
    do {
      return try TensorContainer(directory).verify(threads: threads, progress: progress)
    } catch {
      return [ContainerProblem(opening: directory, error)]
    }
  }

  /// Reads everything and returns all that is wrong: files that do not belong, sidecars, file hashes, seek tables,
  /// every chunk's checksum and content hash, every plane's hash; in that order, whatever the threads.
  ///
  /// - Parameters:
  ///   - share, of: which part of the work is done here, so that ranks divide it: all shares together find what one
  ///     does alone, and each problem is found by one share. Equal in bytes as far as planes and files can be.
  ///   - threads: each takes the memory of one chunk, stored and decoded.
  ///   - progress: gets stored bytes; of the whole, twice the files' sizes: each file is read once as bytes and once
  ///     as planes. Called by one thread at a time.
  public func verify(
    share: Int = 0, of count: Int = 1, threads: Int = ParallelWork.processors,
    progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws(CheckpointError) -> [ContainerProblem] {
    precondition((0..<count).contains(share), "share \(share) of \(count)")
    let manifest = manifest
    var problems: [ContainerProblem] = []
    if share == 0 {
      let known = Set(((manifest.files + manifest.sidecars).map(\.name) + [ContainerManifest.fileName]).map { ExactKey($0) })
      for name in try Directories.entries(of: directory) where !known.contains(ExactKey(name)) {
        problems.append(ContainerProblem(file: name, message: "is not in the manifest"))
      }
    }
    let all = VerificationPiece.all(of: manifest)
    let owners = ParallelWork.shares(of: all.map { $0.weight(in: manifest) }, among: count)
    let pieces = zip(all, owners).filter { $0.1 == share }.map(\.0)
    let verifier = ContainerVerifier(directory: directory, manifest: manifest, files: files)
    do {
      let found = try ParallelWork.map(
        weights: pieces.map { $0.weight(in: manifest) }, threads: threads,
        total: pieces.reduce(0) { $0 + $1.storedBytes(in: manifest) }, progress: progress, worker: ChunkReader.init
      ) { reader, index, advance in verifier.problems(of: pieces[index], reader, advance) }
      return problems + found.flatMap(\.self)
    } catch {
      preconditionFailure("verification throws nothing, but: \(error)")
    }
  }

  /// Content hashes of a tensor's planes over all rows: equal for equal content, however it was cut, compressed or
  /// shared between writers.
  public func contentHashes(_ name: String) throws(CheckpointError) -> [StoredPlane.Kind: ContentHash] {
    let tensor = try requireTensor(name)
    var hashes: [StoredPlane.Kind: ContentHash] = [:]
    for (index, layout) in StoredPlane.layout(format: tensor.format, shape: tensor.shape).enumerated() {
      let hasher = ContentHasher()
      try unsafe forEachChunk(of: tensor, plane: index, 0..<tensor.shape.rows, rowBytes: layout.rowBytes) {
        (_, bytes) throws(CheckpointError) in unsafe hasher.update(bytes)
      }
      hashes[layout.kind] = hasher.value
    }
    return hashes
  }
}
