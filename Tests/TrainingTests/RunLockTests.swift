import Foundation
import Glibc
import Testing
import Training

/// A run directory has one writer, and the kernel knows when that one is gone.
@Suite struct RunLockTests {
  final class Folder: Sendable {
    let path = NSTemporaryDirectory() + "/mfqat-lock-\(UUID().uuidString)"
    deinit { try? FileManager.default.removeItem(atPath: path) }
  }

  private func refusal(_ directory: String, patience: Double = 0) -> String? {
    do {
      _ = try RunLock(directory: directory, patience: patience)
      return nil
    } catch {
      return error.description
    }
  }

  @Test func secondIsRefusedAndToldWhoHoldsIt() throws {
    let folder = Folder(), run = folder.path + "/runs/deep/one"
    var lock: RunLock? = try RunLock(directory: run)
    #expect(lock?.warning == nil)
    let text = try #require(refusal(run))
    #expect(text.contains(run) && text.contains("process \(getpid()) on ") && text.contains(" UTC. Wait until"), "\(text)")
    #expect(text.contains(" since 20") && text.contains("--set logging.directory=…"), "\(text)")
    // Another directory is another run; a refused attempt changed nothing.
    #expect(refusal(folder.path + "/runs/deep/two") == nil)
    #expect(refusal(run) == text)

    // It counts as nothing: the folder is vacant.
    try RunDirectory(path: run).requireVacant()
    try RunDirectory(path: run).requireNothingToLose()
    lock = nil
    #expect(refusal(run) == nil)
    #expect(FileManager.default.fileExists(atPath: run + "/" + RunLock.fileName), "another may have locked it by now")
    try RunDirectory(path: run).requireVacant()
    try Data().write(to: URL(fileURLWithPath: run + "/other"))
    #expect(throws: RunDirectoryError.self) { try RunDirectory(path: run).requireVacant() }
  }

  @Test func namesTheSlurmJob() throws {
    let folder = Folder()
    unsafe setenv("SLURM_JOB_ID", "991", 1)
    defer { unsafe unsetenv("SLURM_JOB_ID") }
    let lock = try RunLock(directory: folder.path)
    #expect(refusal(folder.path)?.contains(", Slurm job 991, since ") == true)
    withExtendedLifetime(lock) {}
  }

  @Test func aProcessKilledBySIGKILLFreesIt() async throws {
    let folder = Folder(), path = folder.path
    await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String] in
      let lock = try RunLock(directory: path)
      // It is held up to the last moment.
      do {
        _ = try RunLock(directory: path)
        exit(1)
      } catch {}
      kill(getpid(), SIGKILL)
      withExtendedLifetime(lock) {}
    }
    let text = try String(contentsOfFile: path + "/" + RunLock.fileName, encoding: .utf8)
    #expect(text.hasPrefix("process ") && !text.hasPrefix("process \(getpid()) "), "\(text)")
    #expect(refusal(path) == nil)
  }

  /// A program that outlives its parent must not keep the run locked.
  @Test func startedProgramsDoNotInheritIt() throws {
    let folder = Folder()
    var lock: RunLock? = try RunLock(directory: folder.path)
    var child = pid_t()
    var arguments: [UnsafeMutablePointer<CChar>?] = unsafe [strdup("sleep"), strdup("60"), nil]
    defer { for unsafe argument in unsafe arguments { unsafe free(argument) } }
    let code = unsafe posix_spawnp(&child, "sleep", nil, nil, &arguments, nil)
    try #require(code == 0)
    defer {
      kill(child, SIGKILL)
      waitpid(child, nil, 0)
    }
    #expect(lock != nil && refusal(folder.path) != nil)
    lock = nil
    // A program that something else has just started holds its copy of the file until it executes: moments.
    _ = try RunLock(directory: folder.path, patience: 2)
    #expect(kill(child, 0) == 0, "the program still runs")
  }

  /// A job that has just been killed takes a moment to die.
  @Test func patienceWaitsForTheHolder() throws {
    let folder = Folder(), path = folder.path
    final class Holder: @unchecked Sendable { var lock: RunLock? }
    let holder = Holder()
    holder.lock = try RunLock(directory: path)
    Thread.detachNewThread {
      usleep(300_000)
      holder.lock = nil
    }
    #expect(refusal(path, patience: 20) == nil)
  }

  @Test(arguments: [ENOLCK, ENOSYS, EOPNOTSUPP]) func fileSystemWithoutLocks(code: Int32) throws {
    let folder = Folder()
    let lock = try RunLock(directory: folder.path) { _ in code }
    let warning = try #require(lock.warning)
    #expect(warning.contains(folder.path) && warning.contains("no locks") && warning.contains("second job"), "\(warning)")
  }

  @Test func folderThatCannotBeMadeAndLockThatFails() throws {
    let folder = Folder()
    try FileManager.default.createDirectory(atPath: folder.path, withIntermediateDirectories: true)
    try Data().write(to: URL(fileURLWithPath: folder.path + "/file"))
    #expect(refusal(folder.path + "/file/run")?.contains("cannot create the directory: File exists") == true)
    do {
      _ = try RunLock(directory: folder.path) { _ in EIO }
      Issue.record("locked")
    } catch {
      #expect(error.description.contains("cannot be locked") && error.description.contains("errno \(EIO)"), "\(error)")
    }
  }

  /// What lies in the file is another's: a terminal gets none of its control characters.
  @Test func strangeContentsAreNotPassedOn() throws {
    let folder = Folder()
    let lock = try RunLock(directory: folder.path)
    let cases: [([UInt8], String)] = [([], "it has not written its name"), ([0x61, 0x1B, 0x5B], "directory: a. Wait")]
    for (bytes, words) in cases {
      let file = try #require(FileHandle(forWritingAtPath: folder.path + "/" + RunLock.fileName))
      try file.truncate(atOffset: 0)
      try file.write(contentsOf: Data(bytes))
      try file.close()
      #expect(refusal(folder.path)?.contains(words) == true)
    }
    withExtendedLifetime(lock) {}
  }
}
