/// Cuts one plane of a piece into chunks of whole rows where they fit, and hashes it. Memory: one chunk.
final class PlaneWriter {
  private let kind: StoredPlane.Kind
  /// Nil where one chunk is sure to hold the whole plane: their hashes are the same.
  private let hasher: ContentHasher?
  private let buffer: ScratchBytes
  private let chunkSize: Int
  private let capacity: Int
  private var filled = 0
  private var size = 0
  private var chunks: [StoredChunk] = []

  /// `most` bytes is what the plane can hold at all. `buffer` is this plane's alone until it is finished.
  init(_ kind: StoredPlane.Kind, rowBytes: Int, most: Int, chunkBytes: Int, buffer: ScratchBytes) {
    self.kind = kind
    chunkSize = rowBytes > 0 && rowBytes <= chunkBytes ? chunkBytes / rowBytes * rowBytes : chunkBytes
    capacity = min(chunkSize, most)
    hasher = most <= chunkSize ? nil : ContentHasher()
    buffer.reserve(capacity)
    self.buffer = buffer
  }

  /// How many bytes may come before the chunk is full.
  var room: Int { capacity - filled }

  /// Where the next `count` bytes go, at most `room`; `advance` takes them over.
  func next(_ count: Int) -> UnsafeMutableRawBufferPointer { unsafe buffer[filled..<filled + count] }

  func advance(_ count: Int, to output: FrameFileWriter) throws(CheckpointError) {
    filled += count
    if filled == chunkSize { try flush(to: output) }
  }

  func append(_ bytes: UnsafeRawBufferPointer, to output: FrameFileWriter) throws(CheckpointError) {
    var done = 0
    while done < bytes.count {
      let take = min(room, bytes.count - done)
      unsafe next(take).copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[done..<done + take]))
      try advance(take, to: output)
      done += take
    }
  }

  func finish(to output: FrameFileWriter) throws(CheckpointError) -> StoredPlane {
    try flush(to: output)
    return StoredPlane(
      kind: kind, size: size, hash: hasher?.value ?? chunks.first?.hash ?? ContentHash([]), chunks: chunks)
  }

  private func flush(to output: FrameFileWriter) throws(CheckpointError) {
    guard filled > 0 else { return }
    let content = unsafe UnsafeRawBufferPointer(buffer.prefix(filled))
    unsafe hasher?.update(content)
    chunks.append(try unsafe output.append(content, start: size))
    size += filled
    filled = 0
  }
}
