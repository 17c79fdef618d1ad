/// Something wrong in a container, as precisely as it is known.
public struct ContainerProblem: Sendable, Hashable, CustomStringConvertible {
  public var tensor: String?
  public var plane: StoredPlane.Kind?
  public var file: String?
  /// Bytes of `file`.
  public var range: Range<Int>?
  public var message: String

  public var description: String {
    var place: [String] = []
    if let tensor { place.append("tensor \"\(printable(tensor))\"") }
    if let plane { place.append("plane \(plane)") }
    if let file { place.append("file \(printable(file))") }
    if let range { place.append("bytes \(range.lowerBound)..<\(range.upperBound)") }
    return (place.isEmpty ? "" : place.joined(separator: ", ") + ": ") + printable(message)
  }
}

extension TensorContainer {
  /// Opens and verifies the container in `directory`; what keeps it from opening is one problem.
  public static func verify(
    _ directory: String, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) -> [ContainerProblem] {
    do {
      return try TensorContainer(directory).verify(progress: progress)
    } catch {
      return [ContainerProblem(tensor: error.tensor, file: error.path, message: error.description)]
    }
  }

  /// Reads everything and returns all that is wrong: file hashes, seek tables, every chunk's checksum and content hash,
  /// every plane's hash, sidecars, files that do not belong. `progress` gets stored bytes, twice the files' sizes in
  /// all: each file is read once as bytes and once as planes.
  public func verify(
    progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws(CheckpointError) -> [ContainerProblem] {
    var problems: [ContainerProblem] = []
    let total = 2 * manifest.files.reduce(0) { $0 + $1.size } + manifest.sidecars.reduce(0) { $0 + $1.size }
    var done = 0
    func advance(_ bytes: Int) {
      done += bytes
      progress(done, total)
    }
    let known = Set((manifest.files + manifest.sidecars).map(\.name) + [ContainerManifest.fileName])
    for name in try Directories.entries(of: directory) where !known.contains(name) {
      problems.append(ContainerProblem(file: name, message: "is not in the manifest"))
    }
    for stored in manifest.sidecars {
      verify(stored, at: nil, &problems)
      advance(stored.size)
    }
    var frames = [[StoredChunk]](repeating: [], count: files.count)
    for tensor in tensors {
      for piece in tensor.pieces {
        for plane in piece.planes {
          for chunk in plane.chunks { frames[chunk.file].append(chunk) }
        }
      }
    }
    for (index, stored) in manifest.files.enumerated() {
      verify(stored, at: index, &problems)
      verifyTable(files[index], stored.name, frames[index].sorted { $0.offset < $1.offset }, &problems)
      advance(stored.size)
    }
    for tensor in tensors {
      for piece in tensor.pieces {
        for plane in piece.planes {
          verify(plane, of: tensor.name, &problems)
          advance(plane.chunks.reduce(0) { $0 + $1.storedSize })
        }
      }
    }
    progress(total, total)
    return problems
  }

  private func verify(_ stored: StoredFile, at index: Int?, _ problems: inout [ContainerProblem]) {
    do {
      let file = if let index { files[index] } else { try ReadableFile(Directories.join(directory, stored.name)) }
      let hash = try file.contentHash()
      if hash != stored.hash {
        problems.append(ContainerProblem(file: stored.name, message: "expected file hash \(stored.hash), found \(hash)"))
      }
    } catch {
      problems.append(ContainerProblem(file: stored.name, message: error.description))
    }
  }

  /// The seek table must say what the manifest says, frame by frame.
  private func verifyTable(
    _ file: ReadableFile, _ name: String, _ chunks: [StoredChunk], _ problems: inout [ContainerProblem]
  ) {
    do {
      let table = try SeekTable(file)
      guard table.entries.count == chunks.count else {
        problems.append(
          ContainerProblem(
            file: name, message: "expected a seek table of \(chunks.count) frames, found \(table.entries.count)"))
        return
      }
      for (entry, chunk) in zip(table.entries, chunks)
      where Int(entry.storedSize) != chunk.storedSize || Int(entry.contentSize) != chunk.size {
        problems.append(
          ContainerProblem(
            file: name, range: chunk.offset..<chunk.offset + chunk.storedSize,
            message:
              "expected a frame of \(chunk.storedSize) bytes for \(chunk.size), the seek table says \(entry.storedSize) for \(entry.contentSize)"
          ))
      }
    } catch {
      problems.append(ContainerProblem(file: name, message: error.description))
    }
  }

  private func verify(_ plane: StoredPlane, of tensor: String, _ problems: inout [ContainerProblem]) {
    let hasher = ContentHasher()
    var isWhole = true
    for chunk in plane.chunks {
      do {
        unsafe hasher.update(try decode(chunk, tensor: tensor, plane.kind))
      } catch {
        isWhole = false
        problems.append(
          ContainerProblem(
            tensor: tensor, plane: plane.kind, file: manifest.files[chunk.file].name,
            range: chunk.offset..<chunk.offset + chunk.storedSize,
            message: [error.expected.map { "expected \($0)" }, error.found.map { "found \($0)" }].compactMap { $0 }
              .joined(separator: ", ")))
      }
    }
    if isWhole, hasher.value != plane.hash {
      problems.append(
        ContainerProblem(
          tensor: tensor, plane: plane.kind, message: "expected plane hash \(plane.hash), found \(hasher.value)"))
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
