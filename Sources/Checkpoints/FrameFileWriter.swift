/// Writes data files: frames one after the other, the seek table at the end, a new file when one is full.
final class FrameFileWriter {
  private let directory: String
  private let prefix: String
  private let fileByteLimit: Int
  private let compressor: ChunkCompressor
  private var current: (file: WritableFile, hasher: ContentHasher, table: SeekTable)?
  /// Finished files.
  private(set) var files: [StoredFile] = []

  /// Files are named `PREFIX-00000.zst`, `PREFIX-00001.zst` … in `directory`.
  init(directory: String, prefix: String, level: Int, fileByteLimit: Int) {
    self.directory = directory
    self.prefix = prefix
    self.fileByteLimit = fileByteLimit
    compressor = ChunkCompressor(level: level)
  }

  /// Writes `content` as one frame; `start` is where it lies in its plane.
  func append(_ content: UnsafeRawBufferPointer, start: Int) throws(CheckpointError) -> StoredChunk {
    if let frame = unsafe compressor.compress(content) {
      // The last four bytes of a frame are its checksum: the same number the table wants.
      let checksum = unsafe frame.suffix(RawFrame.checksumSize).enumerated().reduce(0 as UInt32) {
        $0 | UInt32($1.1) << UInt32(8 * $1.0)
      }
      return try unsafe append([frame], of: content, start: start, checksum: checksum, isRaw: false)
    }
    let checksum = unsafe frameChecksum(content)
    let frame = RawFrame(contentSize: content.count, checksum: checksum)
    return try unsafe frame.marks.span.withUnsafeBytes { (marks) throws(CheckpointError) in
      try unsafe append(
        frame.pieces(content, marks), of: content, start: start, checksum: checksum, isRaw: true)
    }
  }

  /// Appends the frame whose bytes are `pieces`.
  private func append(
    _ pieces: [UnsafeRawBufferPointer], of content: UnsafeRawBufferPointer, start: Int, checksum: UInt32, isRaw: Bool
  ) throws(CheckpointError) -> StoredChunk {
    let size = unsafe pieces.reduce(0) { $0 + $1.count }
    if let current, current.file.size > 0,
      current.file.size + size > fileByteLimit || current.table.entries.count == SeekTable.entryLimit
    {
      try finishFile()
    }
    if current == nil {
      let number = String(files.count)
      let name = "\(prefix)-\(String(repeating: "0", count: max(0, 5 - number.utf8.count)))\(number).zst"
      current = (try WritableFile(creating: Directories.join(directory, name)), ContentHasher(), SeekTable())
    }
    let file = current!.file
    let chunk = unsafe StoredChunk(
      file: files.count, offset: file.size, storedSize: size, start: start, size: content.count,
      hash: ContentHash(content), isRaw: isRaw)
    for unsafe piece in unsafe pieces { unsafe current!.hasher.update(piece) }
    try unsafe file.append(pieces)
    current!.table.entries.append(
      SeekTable.Entry(storedSize: UInt32(size), contentSize: UInt32(content.count), checksum: checksum))
    return chunk
  }

  /// Ends the file in progress, if there is one.
  func finishFile() throws(CheckpointError) {
    guard let (file, hasher, table) = current else { return }
    current = nil
    let bytes = table.bytes
    try file.append(bytes)
    unsafe bytes.span.withUnsafeBytes { unsafe hasher.update($0) }
    try file.close()
    let name = String(file.path.utf8.suffix(from: file.path.utf8.lastIndex(of: UInt8(ascii: "/"))!).dropFirst())!
    files.append(StoredFile(name: name, size: file.size, hash: hasher.value))
  }
}
