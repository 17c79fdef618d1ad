import ArgumentParser
import Checkpoints
import Reports
import Transformer

/// `mfqat report`: evaluations side by side, the summary of a run, or several runs side by side.
struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Print evaluations or runs side by side, or the summary of a run.",
    usage: """
      mfqat report --column <title=file> ... [--title <title>] [--markdown] [--into <file> --marker <name>]
      mfqat report <run-directory> [--svg]
      mfqat report <run-directory> <run-directory> ... [--title <title>] [--markdown] [--into <file> --marker <name>]
      """,
    discussion: """
      Columns are files that evaluate --json wrote; each gives one column of perplexities. Of several runs the first is \
      what the others are compared with. --into replaces what stands \
      between <!-- NAME --> and <!-- /NAME --> in a document with the table in Markdown.
      """)

  @Argument(help: ArgumentHelp("Run directory to summarize, or several to compare.", valueName: "run-directory"))
  var directories: [String] = []

  @Option(help: "Title of the table.")
  var title: String?

  @Option(
    name: .customLong("column"),
    help: ArgumentHelp("Title and record of a column; may be repeated.", valueName: "title=file"),
    transform: ColumnOption.init)
  var columns: [ColumnOption] = []

  @Flag(help: "Markdown in place of aligned columns.")
  var markdown = false

  @Option(help: ArgumentHelp("Document to put the table into.", valueName: "file"))
  var into: String?

  @Option(help: ArgumentHelp("Name of the place in the document.", valueName: "name"))
  var marker: String?

  @Flag(help: "Write the loss curve to loss.svg in the run directory.")
  var svg = false

  @OptionGroup var output: OutputOptions

  func validate() throws {
    if directories.isEmpty, columns.isEmpty {
      throw ValidationError("Give a run directory or more, or one --column TITLE=FILE or more.")
    }
    if !directories.isEmpty, !columns.isEmpty { throw ValidationError("Give run directories or columns, not both.") }
    if directories.count == 1, into != nil || marker != nil || markdown || title != nil {
      throw ValidationError("--title, --markdown, --into and --marker are for columns and for several runs, not for one run.")
    }
    if directories.count != 1, svg { throw ValidationError("--svg draws the losses of a run: give one run directory.") }
    if (into == nil) != (marker == nil) { throw ValidationError("--into and --marker go together.") }
  }

  func run() throws {
    try SingleProcess.require("report")
    switch directories.count {
    case 0: try compareEvaluations()
    case 1: try summarize(directories[0])
    default: try compareRuns()
    }
  }

  private func summarize(_ path: String) throws {
    let summary = try readRun(path)
    if svg {
      let file = path + "/loss.svg"
      let name = path.split(separator: "/").last.map(String.init) ?? path
      try LossCurve(summary.history, title: name).write(to: file)
      output.note("wrote \(file)")
    }
    try output.print(summary.json, summary.table.plain)
  }

  private func readRun(_ path: String) throws -> RunSummary {
    guard FileBytes.isDirectory(path) else {
      throw Refusal("\(path): \(FileBytes.exists(path) ? "a file" : "nothing there"), expected a run directory.")
    }
    return try RunSummary(runDirectory: path)
  }

  private func compareRuns() throws {
    let comparison = RunComparison(title: title ?? "Runs side by side", runs: try directories.map(readRun))
    try place(comparison.markdown)
    try output.print(comparison.json, markdown ? comparison.markdown : comparison.plain)
  }

  private func compareEvaluations() throws {
    let table = ComparisonTable(
      title: title ?? "Perplexity by format",
      columns: try columns.map { ComparisonTable.Column($0.title, try EvaluationRecord(contentsOf: $0.file)) })
    try place(table.markdown)
    let records: [JSONValue] = table.columns.map { ["title": .string($0.title), "record": $0.record.json] }
    try output.print(
      ["title": .string(table.title), "columns": .array(records)], markdown ? table.markdown : table.plain)
  }
}

extension ReportCommand {
  private func place(_ markdown: String) throws {
    guard let into, let marker else { return }
    try MarkedRegion.replace(marker, inFile: into, with: markdown)
    output.note("replaced \(marker) in \(into)")
  }
}

/// `--column "after QAT=qat.json"`.
struct ColumnOption: Sendable {
  let title: String
  let file: String

  init(_ text: String) throws {
    // The last one: a title may hold '=', a file name hardly.
    guard let sign = text.lastIndex(of: "="), sign != text.startIndex, text.index(after: sign) != text.endIndex else {
      throw ValidationError("expected TITLE=FILE, as in \"after QAT=qat.json\".")
    }
    title = String(text[..<sign])
    file = String(text[text.index(after: sign)...])
  }
}
