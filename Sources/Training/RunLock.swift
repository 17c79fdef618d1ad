import Checkpoints

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One job writes a run directory at a time: the root holds this from before the first look at the directory to the end
/// of the run.
///
/// It is an exclusive `flock` on the file `lock` in the directory, so the kernel gives it up when the process dies,
/// however it dies. The file itself means nothing and stays: whoever removed it could remove the one that the next job
/// has just locked, and two jobs would hold two files of one name. It says who has, or had, the lock.
///
/// The lock belongs to the open file, not to the process: a second run in the same process is refused, too. Programs
/// that the process starts do not inherit it.
package final class RunLock {
  package static let fileName = "lock"

  /// That the file system has no locks, if it has none: nothing then keeps a second job out.
  package let warning: String?
  private let descriptor: Int32

  /// Makes `directory` and what is missing above it, and locks it.
  ///
  /// - Parameters:
  ///   - patience: seconds to wait for whoever holds the lock. A job just killed may need some to die.
  ///   - tryLock: what locks an open file, without waiting, and returns 0 or an error number; for tests.
  /// - Throws: when another job holds the lock: who, since when, and what to do.
  package init(
    directory: String, patience: Double = 0,
    tryLock: (Int32) -> Int32 = { flock($0, LOCK_EX | LOCK_NB) == 0 ? 0 : errno }
  ) throws(RunDirectoryError) {
    do {
      try Directories.createWithParents(directory)
    } catch {
      throw RunDirectoryError(path: directory, error)
    }
    let path = directory + "/" + Self.fileName
    // Network file systems lock for writing only what is open for writing.
    descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw RunDirectoryError(path: path, cannot: "be opened for writing", errno) }
    let deadline = PhaseClock.now + patience
    var code = tryLock(descriptor)
    while code == EINTR || code == EWOULDBLOCK && PhaseClock.now < deadline {
      if code == EWOULDBLOCK { usleep(100_000) }
      code = tryLock(descriptor)
    }
    switch code {
    case 0:
      warning = nil
      Self.write(Self.holder, to: descriptor)
    case ENOLCK, ENOSYS, EOPNOTSUPP:
      let reason = unsafe String(cString: strerror(code))
      warning =
        "\(path): this file system has no locks (\(reason)): nothing keeps a second job from writing the same run "
        + "directory"
    case EWOULDBLOCK:
      let holder = Self.read(descriptor)
      close(descriptor)
      throw RunDirectoryError(
        path: directory, problem: "another job is writing this run directory: \(holder)",
        hint: "Wait until it ends, stop it, or choose another folder with --set logging.directory=…")
    default:
      close(descriptor)
      throw RunDirectoryError(path: path, cannot: "be locked", code)
    }
  }

  deinit { close(descriptor) }

  // MARK: Who

  /// "process 4242 on node17, Slurm job 991, since 2026-07-30 18:43:03 UTC".
  private static var holder: String {
    let job = unsafe getenv("SLURM_JOB_ID").map { unsafe ", Slurm job \(String(cString: $0))" } ?? ""
    return "process \(getpid()) on \(RunEnvironment.host)\(job), since \(now)"
  }

  private static var now: String {
    var seconds = time(nil), parts = unsafe tm()
    unsafe gmtime_r(&seconds, &parts)
    func digits(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let date = unsafe [parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday]
    let clock = unsafe [parts.tm_hour, parts.tm_min, parts.tm_sec]
    return date.map(digits).joined(separator: "-") + " " + clock.map(digits).joined(separator: ":") + " UTC"
  }

  /// The lock holds without its words, as on a full disk.
  private static func write(_ holder: String, to descriptor: Int32) {
    let line = Array((holder + "\n").utf8)
    ftruncate(descriptor, 0)
    unsafe line.withUnsafeBytes { bytes in unsafe _ = pwrite(descriptor, bytes.baseAddress, bytes.count, 0) }
  }

  /// What the holder wrote; other bytes than those of a line of text are not passed on to a terminal.
  private static func read(_ descriptor: Int32) -> String {
    var bytes = [UInt8](repeating: 0, count: 300)
    let count = unsafe bytes.withUnsafeMutableBytes { unsafe pread(descriptor, $0.baseAddress, $0.count, 0) }
    let line = bytes.prefix(max(0, count)).prefix { $0 >= 0x20 && $0 < 0x7F }
    return line.isEmpty ? "it has not written its name" : String(decoding: line, as: UTF8.self)
  }
}
