import Foundation

/// A script of `launch/`, run as a user runs it.
enum Script {
  static func path(_ name: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("launch/" + name).path
  }

  static func run(
    _ name: String, _ arguments: [String], environment: [String: String] = [:]
  ) throws -> CommandLineTool.Result {
    try CommandLineTool.run(program: "/bin/bash", [path(name)] + arguments, environment: environment)
  }
}
