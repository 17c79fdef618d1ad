import ArgumentParser
import Checkpoints
import Reports
import Transformer

/// `mfqat inspect`: what lies at a path.
struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show what is in a model folder, an anchor, a run or a token file.",
    discussion: """
      Of a model: architecture, tensors and which of them are quantized, size in every format. Only headers and \
      manifests are read; verify reads everything.
      """)

  @Argument(help: ArgumentHelp("Model folder, anchor, run directory or token file.", valueName: "path"))
  var path: String

  @Flag(help: "Every tensor on a line of its own, not one line for all layers.")
  var tensors = false

  @OptionGroup var output: OutputOptions

  func run() throws {
    try SingleProcess.require("inspect")
    let inspection: Inspection
    switch try PathContents.at(path) {
    case .folder(let path): inspection = try .folder(path, everyTensor: tensors)
    case .anchor(let path): inspection = try .anchor(path, everyTensor: tensors)
    case .checkpoint(let path): inspection = try .checkpoint(path)
    case .tokenFile(let path): inspection = try .tokenFile(path)
    case .run(let path): inspection = try .run(path)
    }
    try output.print(inspection.json, inspection.text)
  }
}
