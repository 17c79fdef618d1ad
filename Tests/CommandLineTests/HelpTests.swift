import Foundation
import Testing

/// The help of every command, to the letter: scripts and documents rely on names and defaults.
///
/// `MFQAT_UPDATE_SNAPSHOTS=1` writes the files anew; look at the difference before committing it.
@Suite struct HelpTests {
  static let commands = [
    "", "prepare", "train", "calibrate", "convert", "evaluate", "compare", "generate", "inspect", "verify", "doctor",
    "report",
  ]

  @Test(arguments: commands)
  func help(_ command: String) throws {
    let result = try CommandLineTool.run(command.isEmpty ? ["--help"] : [command, "--help"])
    #expect(result.status == 0 && result.errors.isEmpty)
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("Snapshots/\(command.isEmpty ? "mfqat" : command).txt")
    if ProcessInfo.processInfo.environment["MFQAT_UPDATE_SNAPSHOTS"] == "1" {
      try Data(result.output.utf8).write(to: file)
    }
    let snapshot = String(decoding: try Data(contentsOf: file), as: UTF8.self)
    #expect(result.output == snapshot, "help of '\(command)' changed: \(file.lastPathComponent)")
  }

  @Test func theRootListsExactlyTheseCommands() throws {
    let help = try CommandLineTool.run(["--help"]).output
    let list = help.components(separatedBy: "SUBCOMMANDS:\n").last?.components(separatedBy: "\n\n").first ?? ""
    let names = list.split(separator: "\n").filter { $0.hasPrefix("  ") && !$0.hasPrefix("   ") }
      .compactMap { $0.split(separator: " ").first.map(String.init) }
    #expect(names == Array(Self.commands.dropFirst()))
  }

  @Test func versionIsAResult() throws {
    let result = try CommandLineTool.run(["--version"])
    #expect(result.status == 0 && result.errors.isEmpty && result.output.split(separator: ".").count == 3)
  }
}
