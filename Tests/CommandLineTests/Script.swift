import Foundation

/// A script of `launch/`, run as a user runs it.
enum Script {
  private static func path(_ name: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("launch/" + name).path
  }

  static func run(
    _ name: String, _ arguments: [String], environment: [String: String] = [:]
  ) throws -> CommandLineTool.Result {
    try CommandLineTool.run(program: "/usr/bin/env", words(name) + arguments, environment: environment)
  }

  static func process(_ name: String, _ arguments: [String], environment: [String: String] = [:]) -> Process {
    CommandLineTool.process("/usr/bin/env", words(name) + arguments, environment)
  }

  /// A test runs on a thread that blocks signals, which children inherit and bash cannot undo: `env` can.
  private static func words(_ name: String) -> [String] { ["--default-signal", "/bin/bash", path(name)] }
}
