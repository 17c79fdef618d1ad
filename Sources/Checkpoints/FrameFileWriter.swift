/// Writes data files: frames one after the other, the seek table at the end, a new file when one is full.
final class FrameFileWriter {
  private let directory: String
  private let prefix: String
  private let fileByteLimit: Int
  private let compressor: ZstdCompressor
  private var current: (file: WritableFile, hasher: ContentHasher, table: SeekTable)?
  /// Finished files.
  private(set) var files: [StoredFile] = []

  /// Files are named `PREFIX-00000.zst`, `PREFIX-00001.zst` … in `directory`.
  init(directory: String, prefix: String, level: Int, fileByteLimit: Int) {
    self.directory = directory
    self.prefix = prefix
    self.fileByteLimit = fileByteLimit
    compressor = ZstdCompressor(level: level)
  }

  /// Writes `content` as one frame; `start` is where it lies in its plane.
  func append(_ content: UnsafeRawBufferPointer, start: Int) throws(CheckpointError) -> StoredChunk {
    let frame = unsafe compressor.frame(content)
    if let current, current.file.size > 0,
      unsafe current.file.size + frame.bytes.count > fileByteLimit
        || current.table.entries.count == SeekTable.entryLimit
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
      file: files.count, offset: file.size, storedSize: frame.bytes.count, start: start, size: content.count,
      hash: ContentHash(content), isRaw: frame.isRaw)
    try unsafe file.append(frame.bytes)
    unsafe current!.hasher.update(frame.bytes)
    // The last four bytes of a frame are its checksum: the same number the table wants.
    let checksum = unsafe frame.bytes.suffix(4).enumerated().reduce(0 as UInt32) {
      $0 | UInt32($1.1) << UInt32(8 * $1.0)
    }
    unsafe current!.table.entries.append(
      SeekTable.Entry(
        storedSize: UInt32(frame.bytes.count), contentSize: UInt32(content.count), checksum: checksum))
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
