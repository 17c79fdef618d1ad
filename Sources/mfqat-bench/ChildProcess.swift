import Foundation

/// Another program, run to its end.
enum ChildProcess {
  struct Answer {
    let status: Int32
    let output: String
  }

  /// - Parameters:
  ///   - program: a path, or a name to look for in PATH.
  ///   - removing: variables that the child must not inherit.
  static func run(_ program: String, _ arguments: [String], removing variables: [String] = []) throws -> Answer {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [program] + arguments
    process.environment = ProcessInfo.processInfo.environment.filter { !variables.contains($0.key) }
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    try process.run()
    let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return Answer(status: process.terminationStatus, output: String(decoding: bytes, as: UTF8.self))
  }
}
