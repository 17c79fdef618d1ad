/// Reads chunks of data files, each against what the manifest says of it. For one thread; its memory is one frame.
final class ChunkDecoder {
  private let decompressor = ZstdDecompressor()
  private let frame = ScratchBytes(capacity: 1)

  /// The content of `chunk`, which lies in `content` until that is written again. `tensor` and `kind` are for errors.
  ///
  /// - Parameter checksums: whether the checksum in a raw frame is compared, too. The content hash covers the same
  ///   bytes: only a wrong checksum around right content would go unnoticed.
  func decode(
    _ chunk: StoredChunk, of file: ReadableFile, into content: ScratchBytes, tensor: String, _ kind: StoredPlane.Kind,
    checksums: Bool = true
  ) throws(CheckpointError) -> UnsafeRawBufferPointer {
    content.reserve(chunk.size)
    let bytes = unsafe content.prefix(chunk.size)
    if chunk.isRaw, try unsafe readRaw(chunk, of: file, into: bytes, checksums: checksums) {
      return UnsafeRawBufferPointer(bytes)
    }
    frame.reserve(chunk.storedSize)
    let stored = unsafe frame.prefix(chunk.storedSize)
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

  /// Reads a raw frame's content to where it belongs, without libzstd. False where anything is not as written: then
  /// libzstd may say what.
  private func readRaw(
    _ chunk: StoredChunk, of file: ReadableFile, into bytes: UnsafeMutableRawBufferPointer, checksums: Bool
  ) throws(CheckpointError) -> Bool {
    guard chunk.size > 0, chunk.storedSize == RawFrame.size(content: chunk.size) else { return false }
    let expected = RawFrame(contentSize: chunk.size, checksum: 0)
    frame.reserve(expected.marks.count)
    let marks = unsafe frame.prefix(expected.marks.count)
    try unsafe file.read(
      at: chunk.offset,
      into: expected.parts.map { part in
        unsafe UnsafeMutableRawBufferPointer(rebasing: part.isContent ? bytes[part.range] : marks[part.range])
      })
    let content = UnsafeRawBufferPointer(bytes)
    guard unsafe marks.dropLast(RawFrame.checksumSize).elementsEqual(expected.marks.dropLast(RawFrame.checksumSize)),
      unsafe ContentHash(content) == chunk.hash
    else { return false }
    guard checksums else { return true }
    let checksum = unsafe frameChecksum(content)
    return unsafe marks.elementsEqual(RawFrame(contentSize: chunk.size, checksum: checksum).marks)
  }
}
