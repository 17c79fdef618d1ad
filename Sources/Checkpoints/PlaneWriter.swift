/// Cuts one plane of a piece into chunks of whole rows where they fit, and hashes it. Memory: one chunk, in a buffer
/// that the planes of other pieces use before and after.
final class PlaneWriter {
  private let kind: StoredPlane.Kind
  private let hasher = ContentHasher()
  private let buffer: ScratchBytes
  private let chunkSize: Int
  /// A chunk, or all of a plane that is smaller.
  private let room: Int
  private var filled = 0
  private var size = 0
  private var chunks: [StoredChunk] = []

  /// - Parameters:
  ///   - most: bytes that the plane can hold at all.
  ///   - buffer: nobody else's until the plane is finished.
  init(_ kind: StoredPlane.Kind, rowBytes: Int, most: Int, chunkBytes: Int, buffer: ScratchBytes) {
    self.kind = kind
    chunkSize = rowBytes > 0 && rowBytes <= chunkBytes ? chunkBytes / rowBytes * rowBytes : chunkBytes
    room = min(chunkSize, most)
    buffer.reserve(room)
    self.buffer = buffer
  }

  /// Appends `count` bytes that `fill` writes: it gets the index of the first one and where they go.
  func append(
    count: Int, to output: FrameFileWriter, _ fill: (Int, UnsafeMutableRawBufferPointer) -> Void
  ) throws(CheckpointError) {
    var done = 0
    while done < count {
      let take = min(room - filled, count - done)
      unsafe fill(done, buffer[filled..<filled + take])
      filled += take
      done += take
      if filled == chunkSize { try flush(to: output) }
    }
  }

  func finish(to output: FrameFileWriter) throws(CheckpointError) -> StoredPlane {
    try flush(to: output)
    return StoredPlane(kind: kind, size: size, hash: hasher.value, chunks: chunks)
  }

  private func flush(to output: FrameFileWriter) throws(CheckpointError) {
    guard filled > 0 else { return }
    let content = unsafe UnsafeRawBufferPointer(buffer.prefix(filled))
    unsafe hasher.update(content)
    chunks.append(try unsafe output.append(content, start: size))
    size += filled
    filled = 0
  }
}
