/// Reads chunks of data files, each against what the manifest says of it. For one thread; its memory is one frame.
final class ChunkDecoder {
  private let decompressor = ZstdDecompressor()
  private let frame = ScratchBytes(capacity: 1)

  /// The content of `chunk`, which lies in `content` until that is written again. `tensor` and `kind` are for errors.
  func decode(
    _ chunk: StoredChunk, of file: ReadableFile, into content: ScratchBytes, tensor: String, _ kind: StoredPlane.Kind
  ) throws(CheckpointError) -> UnsafeRawBufferPointer {
    frame.reserve(chunk.storedSize)
    content.reserve(chunk.size)
    let stored = unsafe frame.prefix(chunk.storedSize)
    let bytes = unsafe content.prefix(chunk.size)
    try unsafe file.read(at: chunk.offset, into: stored)
    func refuse(_ expected: String, _ found: String) -> CheckpointError {
      CheckpointError(
        "read plane \(kind) of", path: file.path, tensor: tensor, offset: chunk.offset, expected: expected,
        found: found,
        hint: "The file is damaged: use another copy")
    }
    if let problem = unsafe decompressor.decode(UnsafeRawBufferPointer(stored), into: bytes) {
      throw refuse("a zstd frame of \(chunk.size) bytes", problem)
    }
    let hash = unsafe ContentHash(UnsafeRawBufferPointer(bytes))
    guard hash == chunk.hash else { throw refuse("content hash \(chunk.hash)", "\(hash)") }
    return UnsafeRawBufferPointer(bytes)
  }
}
