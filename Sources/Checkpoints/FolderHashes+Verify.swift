extension FolderHashes {
  /// Reads everything that has a hash in `folder` and returns all that is wrong: files first, then tensors, each in the
  /// order of the list, whatever the threads. A damaged tensor is told with its bytes, and so is its file.
  ///
  /// - Parameter progress: bytes read, twice the weights' in all: once as files, once as tensors. Called by one thread
  ///   at a time.
  public static func verify(
    _ folder: String, threads: Int = ParallelWork.processors,
    progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) -> [ContainerProblem] {
    do {
      return try FolderHashes(folder: folder).verify(folder, threads: threads, progress: progress)
    } catch {
      return [ContainerProblem(opening: folder, error)]
    }
  }

  private func verify(
    _ folder: String, threads: Int, progress: (_ done: Int, _ total: Int) -> Void
  ) -> [ContainerProblem] {
    var problems: [ContainerProblem] = []
    var open: [ReadableFile?] = [], positions: [ExactKey: Int] = [:]
    for (index, stored) in files.enumerated() {
      positions[ExactKey(stored.name)] = index
      do {
        let file = try ReadableFile(Directories.join(folder, stored.name))
        open.append(file)
        if file.size != stored.size {
          problems.append(
            ContainerProblem(file: stored.name, message: "expected \(stored.size) bytes, found \(file.size)"))
        }
      } catch {
        open.append(nil)
        problems.append(ContainerProblem(file: stored.name, message: error.description))
      }
    }
    let pieces = files.indices.compactMap { index in
      // Of another size, it has been told already.
      open[index].flatMap { $0.size == files[index].size ? HashedPiece(files[index], $0) : nil }
    } + tensors.compactMap { tensor in open[positions[ExactKey(tensor.file)]!].map { HashedPiece(tensor, $0) } }
    let sizes = pieces.map { $0.isInFile ? $0.bytes.count : 0 }
    do {
      let found = try ParallelWork.map(
        weights: sizes, threads: threads, total: sizes.reduce(0, +), progress: progress, worker: {}
      ) { _, index, advance in pieces[index].problem(advance) }
      return problems + found.compactMap(\.self)
    } catch {
      preconditionFailure("verification throws nothing, but: \(error)")
    }
  }
}

/// Bytes with a hash.
private struct HashedPiece: Sendable {
  let tensor: String?
  let name: String
  let file: ReadableFile
  let bytes: Range<Int>
  let hash: ContentHash

  init(_ stored: FolderHashes.File, _ file: ReadableFile) {
    (tensor, name, bytes, hash, self.file) = (nil, stored.name, 0..<stored.size, stored.hash, file)
  }

  init(_ stored: FolderHashes.Tensor, _ file: ReadableFile) {
    (tensor, name, bytes, hash, self.file) = (stored.name, stored.file, stored.bytes, stored.hash, file)
  }

  /// A file may have become shorter, or a list may claim anything.
  var isInFile: Bool { bytes.upperBound <= file.size }

  func problem(_ advance: ParallelWork.Advance) -> ContainerProblem? {
    func problem(_ message: String) -> ContainerProblem {
      ContainerProblem(tensor: tensor, file: name, range: bytes, message: message)
    }
    guard isInFile else { return problem("the file ends at \(file.size)") }
    do {
      let found = try file.contentHash(of: bytes, progress: advance)
      let what = tensor == nil ? "file hash" : "content hash"
      return found == hash ? nil : problem("expected \(what) \(hash), found \(found)")
    } catch {
      return problem(error.description)
    }
  }
}
