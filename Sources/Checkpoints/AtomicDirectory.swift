import Glibc

/// A directory that appears whole or not at all.
///
/// Files are written into a sibling `TARGET.tmp-ID` and synchronized one by one; `commit` synchronizes the
/// directory, renames it to `target` and synchronizes the parent, so that after a crash at any instant `target` is
/// either absent or complete and durable. An abandoned or dropped one leaves nothing behind; a killed process leaves
/// only the temporary name.
public final class AtomicDirectory {
  public let target: String
  public let temporary: String
  private enum State { case open, committed, abandoned }
  private var state = State.open

  /// Makes the temporary directory. `target` must be absent or an empty directory.
  public init(target: String) throws(CheckpointError) {
    self.target = Directories.trimmed(target)
    temporary = Directories.temporaryName(for: target)
    try Self.requireVacant(self.target)
    try Directories.createWithParents(Directories.parent(of: self.target))
    guard unsafe mkdir(temporary, 0o777) == 0 else {
      let code = errno
      throw CheckpointError("create the directory", path: temporary, found: errnoText(code), hint: errnoHint(code))
    }
    try cleaningUp { () throws(CheckpointError) in
      try Directories.synchronize(Directories.parent(of: self.target))
    }
  }

  deinit { abandon() }

  private static func requireVacant(_ target: String) throws(CheckpointError) {
    switch Directories.kind(of: target) {
    case .absent: return
    case .directory:
      let entries = try Directories.entries(of: target)
      guard entries.isEmpty else {
        throw CheckpointError(
          "write to", path: target, expected: "an absent or empty directory",
          found: "\(entries.count) entries, the first \"\(entries[0])\"", hint: "Remove it or choose another directory")
      }
    case .file, .other:
      throw CheckpointError(
        "write to", path: target, expected: "an absent or empty directory", found: "a file of that name",
        hint: "Remove it or choose another directory")
    }
  }

  /// Where the file `name` is until the commit.
  public func path(_ name: String) -> String {
    precondition(Directories.isPlainName(name), "\"\(name)\" is not a plain file name")
    return Directories.join(temporary, name)
  }

  /// Writes and synchronizes one small file. On failure the whole directory is abandoned.
  public func write(_ bytes: [UInt8], to name: String) throws(CheckpointError) {
    precondition(state == .open, "\(target) is \(state)")
    try cleaningUp { () throws(CheckpointError) in
      let file = try WritableFile(creating: path(name))
      try file.append(bytes)
      try file.close()
    }
  }

  /// Makes the directory visible under `target`. Every file inside must have been synchronized by its writer.
  public func commit() throws(CheckpointError) {
    precondition(state == .open, "\(target) is \(state)")
    try cleaningUp { () throws(CheckpointError) in
      try Directories.synchronize(temporary)
      FaultPoint.beforeRename.reached()
      try Self.requireVacant(target)
      try Directories.rename(temporary, to: target)
    }
    state = .committed
    try Directories.synchronize(Directories.parent(of: target))
  }

  /// Removes everything written so far. Harmless after a commit.
  public func abandon() {
    guard state == .open else { return }
    state = .abandoned
    Directories.removeTree(temporary)
  }

  /// Runs `body`; on an error removes the temporary directory before passing the error on.
  package func cleaningUp<Result>(_ body: () throws(CheckpointError) -> Result) throws(CheckpointError) -> Result {
    do {
      return try body()
    } catch {
      abandon()
      throw error
    }
  }
}

/// A file that appears whole or not at all: the same protocol for one file.
public final class AtomicFile {
  public let target: String
  public let temporary: String
  private var file: WritableFile?

  /// `target` must be absent, unless `replacing`: then the old file stays until the commit.
  public init(target: String, replacing: Bool = false) throws(CheckpointError) {
    self.target = target
    temporary = Directories.temporaryName(for: target)
    let kind = Directories.kind(of: target)
    guard kind == .absent || (kind == .file && replacing) else {
      throw CheckpointError(
        "write to", path: target, expected: replacing ? "an absent or regular file" : "an absent file",
        found: "something of that name", hint: "Remove it or choose another name")
    }
    try Directories.createWithParents(Directories.parent(of: target))
    file = try WritableFile(creating: temporary)
  }

  deinit { abandon() }

  /// Writes all of `bytes` as the file's whole content, durably.
  public static func write(
    _ bytes: [UInt8], to target: String, replacing: Bool = false
  ) throws(CheckpointError) {
    let file = try AtomicFile(target: target, replacing: replacing)
    try file.append(bytes)
    try file.commit()
  }

  public func append(_ bytes: [UInt8]) throws(CheckpointError) {
    try unsafe bytes.span.withUnsafeBytes { (buffer) throws(CheckpointError) in
      try unsafe write(buffer, at: nil)
    }
  }

  /// Writes at `offset`, or at the end.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int?) throws(CheckpointError) {
    guard let file else { preconditionFailure("\(target) is committed or abandoned") }
    do {
      try unsafe file.write(bytes, at: offset ?? file.size)
    } catch {
      abandon()
      throw error
    }
  }

  public func commit() throws(CheckpointError) {
    guard let file else { preconditionFailure("\(target) is committed or abandoned") }
    do {
      try file.close()
      try Directories.rename(temporary, to: target)
    } catch {
      abandon()
      throw error
    }
    self.file = nil
    try Directories.synchronize(Directories.parent(of: target))
  }

  /// Removes what was written. Harmless after a commit.
  public func abandon() {
    guard file != nil else { return }
    file = nil
    unsafe _ = unlink(temporary)
  }
}
