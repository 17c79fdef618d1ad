import Glibc

/// The text of an `errno` value.
func errnoText(_ code: Int32) -> String { unsafe "\(String(cString: strerror(code))) (errno \(code))" }

/// What to do about an `errno` value, where there is something to say.
func errnoHint(_ code: Int32) -> String? {
  switch code {
  case ENOSPC, EDQUOT: "Free space on that file system or choose another directory"
  case EACCES, EPERM, EROFS: "Check the permissions of the directory"
  case EIO: "The device reports a fault: write somewhere else"
  case ENOENT: "Check the path"
  default: nil
  }
}

/// Pieces of memory that one system call takes.
private let vectorLimit = 1024

/// An open regular file, read by position; its size is that at opening.
final class ReadableFile: Sendable {
  let path: String
  let size: Int
  private let descriptor: Int32

  init(_ path: String) throws(CheckpointError) {
    // O_NONBLOCK: a pipe of that name must not hang the program before the kind is checked.
    let descriptor = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      let code = errno
      throw CheckpointError("open", path: path, found: errnoText(code), hint: errnoHint(code))
        .because([ENOENT, ENOTDIR, ELOOP].contains(code) ? .content : .system)
    }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      _ = Glibc.close(descriptor)
      throw CheckpointError("open", path: path, expected: "a regular file", found: "something else")
    }
    self.path = path
    self.size = Int(status.st_size)
    self.descriptor = descriptor
  }

  deinit { _ = Glibc.close(descriptor) }

  /// Lets what is read next come from the device, not from memory. A hint.
  func dropFromCache() { _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) }

  /// Fills `destination` from byte `offset` on; a shorter file is an error.
  func read(at offset: Int, into destination: UnsafeMutableRawBufferPointer) throws(CheckpointError) {
    var done = 0
    while done < destination.count {
      let count = unsafe pread(
        descriptor, destination.baseAddress! + done, destination.count - done, off_t(offset + done))
      if count < 0 {
        let code = errno
        if code == EINTR { continue }
        throw CheckpointError(
          "read", path: path, offset: offset + done, found: errnoText(code), hint: errnoHint(code))
      }
      guard count > 0 else {
        throw CheckpointError(
          "read", path: path, offset: offset + done, expected: "\(destination.count - done) more bytes",
          found: "the end of the file", hint: "The file became shorter while it was open")
      }
      done += count
    }
  }

  /// Fills `destinations` one after the other with the bytes from `offset` on.
  func read(at offset: Int, into destinations: [UnsafeMutableRawBufferPointer]) throws(CheckpointError) {
    let vectors = unsafe destinations.map { unsafe iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
    // In one call where the system takes it; what is missing after that is read, or refused, one by one.
    var done = 0
    if unsafe vectors.count <= vectorLimit {
      done = unsafe max(0, preadv(descriptor, vectors, Int32(vectors.count), off_t(offset)))
    }
    var position = offset
    for unsafe destination in unsafe destinations {
      let part = min(done, destination.count)
      if part < destination.count {
        try unsafe read(at: position + part, into: UnsafeMutableRawBufferPointer(rebasing: destination[part...]))
      }
      done -= part
      position += destination.count
    }
  }

  /// Says that the bytes of `range` will be wanted soon.
  func prefetch(_ range: Range<Int>) {
    _ = posix_fadvise(descriptor, off_t(range.lowerBound), off_t(range.count), POSIX_FADV_WILLNEED)
  }

  func bytes(_ range: Range<Int>) throws(CheckpointError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: range.count)
    var span = bytes.mutableSpan
    try unsafe span.withUnsafeMutableBytes { (buffer) throws(CheckpointError) in
      try unsafe read(at: range.lowerBound, into: buffer)
    }
    return bytes
  }

  /// The whole file; the caller has bounded `size`.
  func wholeContents() throws(CheckpointError) -> [UInt8] { try bytes(0..<size) }

  /// The hash of the whole file, in pieces of 1 MiB; `progress` gets the size of each.
  func contentHash(progress: (Int) -> Void = { _ in }) throws(CheckpointError) -> ContentHash {
    try contentHash(of: 0..<size, progress: progress)
  }

  /// The hash of the bytes in `range`, in the same way.
  func contentHash(of range: Range<Int>, progress: (Int) -> Void = { _ in }) throws(CheckpointError) -> ContentHash {
    let hasher = ContentHasher()
    let buffer = ScratchBytes(capacity: min(max(range.count, 1), 1 << 20))
    var offset = range.lowerBound
    while offset < range.upperBound {
      let piece = unsafe buffer.prefix(min(1 << 20, range.upperBound - offset))
      try unsafe read(at: offset, into: piece)
      unsafe hasher.update(UnsafeRawBufferPointer(piece))
      offset += piece.count
      progress(piece.count)
    }
    return hasher.value
  }
}

/// A new file being written; removed by whoever owns its directory when something fails.
final class WritableFile {
  let path: String
  private(set) var size = 0
  private var handedOver = 0
  private var descriptor: Int32

  /// Creates `path`, which must not exist.
  init(creating path: String) throws(CheckpointError) {
    descriptor = unsafe Glibc.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    self.path = path
    guard descriptor >= 0 else {
      let code = errno
      throw CheckpointError("create", path: path, found: errnoText(code), hint: errnoHint(code))
    }
  }

  deinit { if descriptor >= 0 { _ = Glibc.close(descriptor) } }

  func append(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
    try unsafe write(bytes, at: size)
  }

  func append(_ bytes: [UInt8]) throws(CheckpointError) {
    try unsafe bytes.span.withUnsafeBytes { (buffer) throws(CheckpointError) in try unsafe append(buffer) }
  }

  /// Appends `pieces` one after the other.
  func append(_ pieces: [UnsafeRawBufferPointer]) throws(CheckpointError) {
    precondition(descriptor >= 0, "\(path) is closed")
    let vectors = unsafe pieces.map {
      unsafe iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count)
    }
    // In one call where the system takes it; what is missing after that is written, or refused, one by one.
    var done = 0
    if unsafe vectors.count <= vectorLimit {
      done = unsafe max(0, pwritev(descriptor, vectors, Int32(vectors.count), off_t(size)))
    }
    var position = size
    for unsafe piece in unsafe pieces {
      let part = min(done, piece.count)
      if part < piece.count {
        try unsafe write(UnsafeRawBufferPointer(rebasing: piece[part...]), at: position + part)
      }
      done -= part
      position += piece.count
    }
    size = max(size, position)
    startWriteback()
  }

  /// Lets the device begin while more is prepared; otherwise all of it would wait for `close`. Linux starts to write what
  /// is not needed in memory any more. A hint: errors show at `close`.
  private func startWriteback() {
    guard size - handedOver >= Self.writebackStep else { return }
    _ = posix_fadvise(descriptor, off_t(handedOver), off_t(size - handedOver), POSIX_FADV_DONTNEED)
    handedOver = size
  }

  private static let writebackStep = 8 << 20

  /// Writes `bytes` at byte `offset`, all of them or an error.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(CheckpointError) {
    precondition(descriptor >= 0, "\(path) is closed")
    var done = 0
    while done < bytes.count {
      let count = unsafe pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset + done))
      if count < 0 {
        let code = errno
        if code == EINTR { continue }
        throw CheckpointError(
          "write", path: path, offset: offset + done,
          expected: "\(bytes.count) bytes to be written", found: "\(done) and then \(errnoText(code))",
          hint: errnoHint(code))
      }
      done += count
      size = max(size, offset + done)
    }
  }

  /// Brings the bytes to the device and closes the file.
  func close() throws(CheckpointError) {
    precondition(descriptor >= 0, "\(path) is closed")
    let descriptor = descriptor
    self.descriptor = -1
    var failure: Int32 = 0
    if fsync(descriptor) != 0 { failure = errno }
    if Glibc.close(descriptor) != 0, failure == 0 { failure = errno }
    guard failure == 0 else {
      throw CheckpointError(
        "write", path: path, offset: size, expected: "\(size) bytes on the device", found: errnoText(failure),
        hint: errnoHint(failure))
    }
  }
}

/// Raw memory that is reused between chunks and grows on demand; contents are undefined after growth.
@safe final class ScratchBytes {
  private var storage: UnsafeMutableRawBufferPointer

  init(capacity: Int) {
    unsafe storage = .allocate(byteCount: max(capacity, 1), alignment: 64)
  }

  deinit { unsafe storage.deallocate() }

  var capacity: Int { unsafe storage.count }

  func reserve(_ capacity: Int) {
    guard unsafe capacity > storage.count else { return }
    unsafe storage.deallocate()
    unsafe storage = .allocate(byteCount: capacity, alignment: 64)
  }

  /// The first `count` bytes.
  func prefix(_ count: Int) -> UnsafeMutableRawBufferPointer { unsafe self[0..<count] }

  subscript(range: Range<Int>) -> UnsafeMutableRawBufferPointer {
    unsafe precondition(
      range.lowerBound >= 0 && range.upperBound <= storage.count, "\(range) of \(storage.count) bytes")
    return unsafe UnsafeMutableRawBufferPointer(rebasing: storage[range])
  }
}
