#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Whole files and the calls of the system, with errors that name the file.
enum FileBytes {
  static func failure(_ operation: String, _ path: String, expected: String, _ code: Int32 = errno) -> TextError {
    let reason = unsafe String(cString: strerror(code))
    return TextError(.system, operation: operation, path: path, expected: expected, found: reason)
  }

  /// The whole file, if it has at most `limit` bytes; a pipe or a device has none to begin with.
  static func contents(of path: String, limit: Int, operation: String) throws(TextError) -> [UInt8] {
    var status = stat()
    if unsafe stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFDIR {
      guard status.st_mode & S_IFMT == S_IFREG, status.st_size <= limit else {
        throw TextError(
          .malformed, operation: operation, path: path, expected: "a regular file of at most \(limit) bytes",
          found: status.st_mode & S_IFMT == S_IFREG ? "\(status.st_size) bytes" : "something else")
      }
    }
    return try contents(of: path, operation: operation)
  }

  static func contents(of path: String, operation: String) throws(TextError) -> [UInt8] {
    var bytes: [UInt8] = []
    try append(path, to: &bytes, operation: operation)
    return bytes
  }

  /// Appends a file's bytes to `bytes`.
  static func append(_ path: String, to bytes: inout [UInt8], operation: String) throws(TextError) {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(operation, path, expected: "a readable file") }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw failure(operation, path, expected: "a file") }
    guard status.st_mode & S_IFMT != S_IFDIR else {
      throw failure(operation, path, expected: "a file", EISDIR)
    }
    bytes.reserveCapacity(bytes.count + Int(status.st_size))
    let chunk = 1 << 20
    var buffer = [UInt8](repeating: 0, count: chunk)
    while true {
      let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, chunk) }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw failure(operation, path, expected: "readable bytes") }
      if count == 0 { return }
      bytes += buffer[..<count]
    }
  }

  /// Makes a renaming in the folder of `path` durable.
  static func synchronizeFolder(of path: String, operation: String) throws(TextError) {
    var folder = "."
    if let slash = path.lastIndex(of: "/") { folder = slash == path.startIndex ? "/" : String(path[..<slash]) }
    let descriptor = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(operation, folder, expected: "a readable folder") }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 || errno == EINVAL else {
      throw failure(operation, folder, expected: "a folder that can be synchronized")
    }
  }
}
