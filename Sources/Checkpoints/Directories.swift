import Glibc

/// The few directory operations a commit needs. Paths are passed as they are; nothing expands `~`.
package enum Directories {
  /// The directory that holds `path`.
  static func parent(of path: String) -> String {
    var trimmed = path[...]
    while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed = trimmed.dropLast() }
    guard let slash = trimmed.lastIndex(of: "/") else { return "." }
    return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
  }

  /// The part of `path` behind its last slash.
  static func lastName(of path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }

  /// `path` without trailing slashes.
  static func trimmed(_ path: String) -> String {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }

  static func join(_ directory: String, _ name: String) -> String {
    directory.hasSuffix("/") ? directory + name : directory + "/" + name
  }

  /// A name that stays inside its directory: what manifests and indices may refer to.
  static func isPlainName(_ name: String) -> Bool {
    let bytes = name.utf8
    return !bytes.isEmpty && bytes.count <= 255 && name != "." && name != ".."
      && !bytes.contains(UInt8(ascii: "/")) && !bytes.contains { $0 < 0x20 || $0 == 0x7F }
  }

  enum Kind { case absent, file, directory, other }

  /// What is at `path`, links followed.
  static func kind(of path: String) -> Kind {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { return .absent }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return .file
    case S_IFDIR: return .directory
    default: return .other
    }
  }

  /// Creates `path` and what is missing above it.
  package static func createWithParents(_ path: String) throws(CheckpointError) {
    if kind(of: path) == .directory { return }
    let above = parent(of: path)
    if above != path { try createWithParents(above) }
    guard unsafe mkdir(path, 0o777) == 0 || (errno == EEXIST && kind(of: path) == .directory) else {
      let code = errno
      throw CheckpointError("create the directory", path: path, found: errnoText(code), hint: errnoHint(code))
    }
    try synchronize(above)
  }

  /// Names in `path` without `.` and `..`, sorted by bytes.
  static func entries(of path: String) throws(CheckpointError) -> [String] {
    guard let stream = unsafe opendir(path) else {
      let code = errno
      throw CheckpointError("list", path: path, found: errnoText(code), hint: errnoHint(code))
    }
    defer { unsafe _ = closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      // The name is a null-terminated run inside the entry, which lives until the next readdir.
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        unsafe String(cString: UnsafeRawPointer(pointer).assumingMemoryBound(to: CChar.self))
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// Makes renames and creations inside `path` durable.
  static func synchronize(_ path: String) throws(CheckpointError) {
    let descriptor = unsafe Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
      let code = errno
      throw CheckpointError("open the directory", path: path, found: errnoText(code), hint: errnoHint(code))
    }
    defer { _ = Glibc.close(descriptor) }
    // Some network file systems have no fsync of directories and say EINVAL: nothing more can be done there.
    guard fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP else {
      let code = errno
      throw CheckpointError("synchronize the directory", path: path, found: errnoText(code), hint: errnoHint(code))
    }
  }

  static func rename(_ source: String, to target: String) throws(CheckpointError) {
    guard unsafe Glibc.rename(source, target) == 0 else {
      let code = errno
      throw CheckpointError(
        "rename", path: source, expected: "it to become \(target)", found: errnoText(code), hint: errnoHint(code))
    }
  }

  private typealias RenameAt2 = @convention(c) (
    Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32
  ) -> Int32

  /// Of the C library, whose overlay for Swift does not have it; nil where it has none.
  private static let renameat2: RenameAt2? = unsafe dlsym(nil, "renameat2").map {
    unsafe unsafeBitCast($0, to: RenameAt2.self)
  }

  /// Exchanges two names; where the file system has no such call, by way of a third, with moments without either.
  static func exchange(_ a: String, _ b: String) throws(CheckpointError) {
    var code = ENOSYS
    if let call = unsafe renameat2 {
      if unsafe call(AT_FDCWD, a, AT_FDCWD, b, 1 << 1) == 0 { return }  // RENAME_EXCHANGE
      code = errno
    }
    guard code == EINVAL || code == ENOSYS || code == EOPNOTSUPP else {
      throw CheckpointError(
        "exchange", path: a, expected: "it to change places with \(b)", found: errnoText(code), hint: errnoHint(code))
    }
    let third = temporaryName(for: b)
    try rename(b, to: third)
    try rename(a, to: b)
    try rename(third, to: a)
  }

  /// Removes `path` and everything in it, links not followed; what cannot be removed stays.
  static func removeTree(_ path: String) {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { return }
    if status.st_mode & S_IFMT == S_IFDIR {
      for name in (try? entries(of: path)) ?? [] { removeTree(join(path, name)) }
      unsafe _ = rmdir(path)
    } else {
      unsafe _ = unlink(path)
    }
  }

  /// A sibling of `path` that no valid reader looks at.
  static func temporaryName(for path: String) -> String {
    // The name only has to be unlikely to exist: it enters no result.
    trimmed(path) + ".tmp-" + String(UInt64.random(in: .min ... .max), radix: 16)
  }
}
