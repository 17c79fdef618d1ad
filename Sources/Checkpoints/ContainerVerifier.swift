/// A piece of verifying a container; the numbers are indices into the manifest.
enum VerificationPiece: Sendable {
  case sidecar(Int)
  case file(Int)
  case table(file: Int)
  case plane(tensor: Int, piece: Int, plane: Int)

  /// Every piece, in the order in which problems are told.
  static func all(of manifest: ContainerManifest) -> [VerificationPiece] {
    var all = manifest.sidecars.indices.map { VerificationPiece.sidecar($0) }
    for index in manifest.files.indices { all += [.file(index), .table(file: index)] }
    for (tensor, stored) in manifest.tensors.enumerated() {
      for piece in stored.pieces.indices {
        for plane in stored.pieces[piece].planes.indices {
          all.append(.plane(tensor: tensor, piece: piece, plane: plane))
        }
      }
    }
    return all
  }

  /// Bytes that are hashed. Those of a plane count four times: they are decoded, hashed as a chunk and as a plane.
  func weight(in manifest: ContainerManifest) -> Int {
    switch self {
    case .sidecar, .file, .table: storedBytes(in: manifest)
    case .plane(let tensor, let piece, let plane): 4 * manifest.tensors[tensor].pieces[piece].planes[plane].size
    }
  }

  /// Bytes that are read.
  func storedBytes(in manifest: ContainerManifest) -> Int {
    switch self {
    case .sidecar(let index): manifest.sidecars[index].size
    case .file(let index): manifest.files[index].size
    // The table counts with its file.
    case .table: 0
    case .plane(let tensor, let piece, let plane):
      manifest.tensors[tensor].pieces[piece].planes[plane].chunks.reduce(0) { $0 + $1.storedSize }
    }
  }
}

/// What a thread needs to read chunks.
final class ChunkReader {
  let decoder = ChunkDecoder()
  let content = ScratchBytes(capacity: 1)
}

/// Finds what is wrong in one piece of a container. Shared by threads: each brings its own reader.
struct ContainerVerifier: Sendable {
  let directory: String
  let manifest: ContainerManifest
  let files: [ReadableFile]
  /// The chunks of each data file as they follow each other.
  private let frames: [[StoredChunk]]

  init(directory: String, manifest: ContainerManifest, files: [ReadableFile]) {
    self.directory = directory
    self.manifest = manifest
    self.files = files
    var frames = [[StoredChunk]](repeating: [], count: files.count)
    for chunk in manifest.tensors.lazy.flatMap(\.pieces).flatMap(\.planes).flatMap(\.chunks) {
      frames[chunk.file].append(chunk)
    }
    self.frames = frames.map { $0.sorted { $0.offset < $1.offset } }
  }

  func problems(
    of piece: VerificationPiece, _ reader: ChunkReader, _ advance: ParallelWork.Advance
  ) -> [ContainerProblem] {
    switch piece {
    case .sidecar(let index): return bytes(of: manifest.sidecars[index], nil, advance)
    case .file(let index): return bytes(of: manifest.files[index], files[index], advance)
    case .table(let index): return table(of: index)
    case .plane(let tensor, let piece, let plane):
      let stored = manifest.tensors[tensor]
      return self.plane(stored.pieces[piece].planes[plane], of: stored.name, reader, advance)
    }
  }

  private func bytes(
    of stored: StoredFile, _ open: ReadableFile?, _ advance: ParallelWork.Advance
  ) -> [ContainerProblem] {
    do {
      let file = if let open { open } else { try ReadableFile(Directories.join(directory, stored.name)) }
      let hash = try file.contentHash(progress: advance)
      guard hash != stored.hash else { return [] }
      return [
        ContainerProblem(
          file: stored.name, range: 0..<file.size, message: "expected file hash \(stored.hash), found \(hash)")
      ]
    } catch {
      return [ContainerProblem(file: stored.name, message: error.description)]
    }
  }

  /// The seek table must say what the manifest says, frame by frame.
  private func table(of index: Int) -> [ContainerProblem] {
    let file = files[index], name = manifest.files[index].name, chunks = frames[index]
    do {
      let table = try SeekTable(file)
      guard table.entries.count == chunks.count else {
        return [
          ContainerProblem(
            file: name, range: file.size - SeekTable.byteCount(entries: table.entries.count)..<file.size,
            message: "expected a seek table of \(chunks.count) frames, found \(table.entries.count)")
        ]
      }
      return zip(table.entries, chunks).compactMap { entry, chunk in
        if Int(entry.storedSize) == chunk.storedSize && Int(entry.contentSize) == chunk.size { return nil }
        return ContainerProblem(
          file: name, range: chunk.range,
          message: "expected a frame of \(chunk.storedSize) bytes for \(chunk.size), the seek table says "
            + "\(entry.storedSize) for \(entry.contentSize)")
      }
    } catch {
      return [
        ContainerProblem(file: name, range: error.offset.map { $0..<file.size }, message: error.description)
      ]
    }
  }

  private func plane(
    _ plane: StoredPlane, of tensor: String, _ reader: ChunkReader, _ advance: ParallelWork.Advance
  ) -> [ContainerProblem] {
    let hasher = ContentHasher()
    var problems: [ContainerProblem] = []
    for chunk in plane.chunks {
      do {
        unsafe hasher.update(
          try reader.decoder.decode(chunk, of: files[chunk.file], into: reader.content, tensor: tensor, plane.kind))
      } catch {
        let message = [error.expected.map { "expected \($0)" }, error.found.map { "found \($0)" }]
          .compactMap(\.self).joined(separator: ", ")
        problems.append(
          ContainerProblem(
            tensor: tensor, plane: plane.kind, file: manifest.files[chunk.file].name, range: chunk.range,
            message: message))
      }
      advance(chunk.storedSize)
    }
    if problems.isEmpty, hasher.value != plane.hash {
      let isInOneFile = Set(plane.chunks.map(\.file)).count == 1
      problems.append(
        ContainerProblem(
          tensor: tensor, plane: plane.kind, file: isInOneFile ? manifest.files[plane.chunks[0].file].name : nil,
          range: plane.chunks.count == 1 ? plane.chunks[0].range : nil,
          message: "expected plane hash \(plane.hash), found \(hasher.value)"))
    }
    return problems
  }
}

extension StoredChunk {
  /// Where the frame lies in its file.
  var range: Range<Int> { offset..<offset + storedSize }
}
