import ArgumentParser
import Checkpoints
import Reports
import Transformer

/// `mfqat verify`: reads everything and names what is damaged.
struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Check every byte of a model folder, an anchor, a run or a token file.",
    discussion: """
      Anchors, training checkpoints and token files carry checksums of all they hold, and so do model folders written \
      by convert (in hashes.json). Other model folders carry none: there the structure is checked, and that every \
      weight is a finite number. Exit status 1 if anything is wrong.
      """)

  @Argument(help: ArgumentHelp("Model folder, anchor, run directory or token file.", valueName: "path"))
  var path: String

  @OptionGroup var output: OutputOptions

  func run() throws {
    try SingleProcess.require("verify")
    let contents = try PathContents.at(path)
    var parts: [PathContents] = [contents]
    if case .run(let path) = contents { parts = PathContents.models(ofRun: path) }
    guard !parts.isEmpty else {
      throw Refusal("\(path): the run has no anchor and no checkpoint yet. There is nothing to verify.")
    }
    let findings = parts.map { part in
      let meter = output.meter("verify", unit: "bytes")
      defer { meter.finish() }
      return Verification.check(part) { meter.update($0, of: $1) }
    }
    let problems = findings.flatMap(\.problems)
    try output.print(
      [
        "path": .string(path), "ok": .bool(problems.isEmpty), "parts": .array(findings.map(\.json)),
      ], findings.filter(\.problems.isEmpty).map { "\($0.path): \($0.summary)\n" }.joined())
    guard !problems.isEmpty else { return }
    for finding in findings {
      for problem in finding.problems { Terminal.note("error: \(finding.path): \(problem.message)") }
    }
    throw ExitCode(1)
  }
}
