import Communication
import Foundation

/// Tests of this bundle as an MPI job of its own.
struct LaunchedJob {
  let status: Int32
  let output: String

  /// Not where this process is a rank itself: jobs do not nest.
  static let isPossible = Launch.current == .alone && FileManager.default.isExecutableFile(atPath: "/usr/bin/mpirun")
  static let absence = "needs mpirun, and not to run under it"

  /// Runs the tests that `filter` names on `ranks` ranks and waits for their end.
  init(ranks: Int, filter: String, environment changes: [String: String]) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")  // 124 instead of a hang
    process.arguments = ["60", "/usr/bin/mpirun"] + (geteuid() == 0 ? ["--allow-run-as-root"] : []) + [
      "-n", "\(ranks)", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
      try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"),
      "--testing-library", "swift-testing", "--no-parallel", "--filter", filter,
    ]
    process.environment = ProcessInfo.processInfo.environment.merging(changes) { $1 }
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    // A signal as a shell reports it.
    status = process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
  }
}
