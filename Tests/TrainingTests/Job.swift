import Communication
import Foundation
import Glibc

/// `mfqat` as a process, or as the ranks of a job.
final class Job {
  private let child = Process()
  private let output = Pipe()
  /// Standard output and error so far.
  private(set) var text = ""

  static let timedOut: Int32 = 124
  static let mpirun = "/usr/bin/mpirun"
  static var mfqat: String {
    let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return String(bundle.prefix(through: bundle.lastIndex(of: "/") ?? bundle.startIndex)) + "mfqat"
  }
  static var isAvailable: Bool {
    Launch.current == .alone && FileManager.default.isExecutableFile(atPath: mpirun)
      && FileManager.default.isExecutableFile(atPath: mfqat)
  }
  static let absence = "needs mpirun and mfqat, and not to run under mpirun"

  init(ranks: Int?, _ arguments: [String], environment: [String: String] = [:]) throws {
    child.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")  // 124 instead of a hang
    var line = ["--kill-after=5", "60"]
    if let ranks {
      line +=
        [Self.mpirun] + (geteuid() == 0 ? ["--allow-run-as-root"] : []) + [
          "-n", "\(ranks)", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
        ]
    }
    child.arguments = line + [Self.mfqat] + arguments
    child.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    child.standardOutput = output
    child.standardError = output
    // The pool's threads block signals, and a process inherits what its maker blocks.
    var none = sigset_t(), before = sigset_t()
    unsafe sigemptyset(&none)
    unsafe pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
    try child.run()
  }

  var process: Int32 { child.processIdentifier }

  struct Ended: Error { let text: String }

  /// Reads on until a line of which `holds`.
  func waitForLine(_ holds: (Substring) -> Bool) throws {
    while !text.split(separator: "\n").contains(where: holds) {
      let data = output.fileHandleForReading.availableData
      guard !data.isEmpty else { throw Ended(text: text) }
      text += String(decoding: data, as: UTF8.self)
    }
  }

  /// The exit status, 128 + the number of a signal.
  func end() throws -> Int32 {
    text += String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    child.waitUntilExit()
    return child.terminationReason == .exit ? child.terminationStatus : 128 + child.terminationStatus
  }

  /// Parent and name of a process; nil if there is none or it only waits to be collected.
  private static func status(of process: String) -> (parent: Int32, name: String)? {
    guard let data = FileManager.default.contents(atPath: "/proc/\(process)/stat") else { return nil }
    // id (name) state parent …; a name can hold anything, a parenthesis too.
    let text = String(decoding: data, as: UTF8.self)
    guard let open = text.firstIndex(of: "("), let close = text.lastIndex(of: ")") else { return nil }
    let rest = text[text.index(after: close)...].dropFirst().split(separator: " ")
    guard rest.count > 1, rest[0] != "Z", let parent = Int32(rest[1]) else { return nil }
    return (parent, String(text[text.index(after: open)..<close]))
  }

  /// Whether all have ended within ten seconds: mpirun can be gone a moment before the ranks it has killed.
  static func haveEnded(_ processes: [Int32]) -> Bool {
    for _ in 0..<1000 {
      if !processes.contains(where: { status(of: "\($0)") != nil }) { return true }
      usleep(10_000)
    }
    return false
  }

  /// Descendants of a process with that name, oldest first.
  static func processes(named name: String, below ancestor: Int32) -> [Int32] {
    var all: [Int32: (parent: Int32, name: String)] = [:]
    for entry in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
      if let id = Int32(entry) { all[id] = status(of: entry) }
    }
    func descends(_ id: Int32) -> Bool {
      guard let parent = all[id]?.parent, parent > 1 else { return false }
      return parent == ancestor || descends(parent)
    }
    return all.filter { $0.value.name == name && descends($0.key) }.keys.sorted()
  }
}
