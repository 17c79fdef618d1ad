import ArgumentParser
import Checkpoints
import Conversion
import Formats
import Reports
import Transformer

/// `--as`.
enum ContainerChoice: String, CaseIterable, ExpressibleByArgument {
  case anchor, dense

  var container: ConversionPlan.Container { self == .anchor ? .anchor : .dense }
}

/// `mfqat convert`: an anchor into lower formats, a dense model into an anchor, a checkpoint into a model folder.
struct ConvertCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "convert",
    abstract: "Cut an anchor into lower formats, round a dense model, or export a checkpoint.",
    discussion: """
      From an anchor every lower format of its family can be cut, without data and without training; a dense model is \
      rounded directly. One format is written into DIR itself, several into DIR/FORMAT. --as dense writes an ordinary \
      Hugging Face folder with the same values in fp32, and --to fp32 --as dense one with the weights of a training \
      checkpoint as they are. --to stored copies an anchor, or with --as dense its values, whatever formats it mixes. \
      Nothing is overwritten.
      """)

  @OptionGroup var source: SourceOptions

  @Option(
    name: .customLong("to"), help: ArgumentHelp("Formats to write, separated by commas.", valueName: "formats"),
    transform: FormatLists.choices)
  var choices: [FormatChoice]
  private var formats: [MXFormat] { choices.compactMap(\.block) }

  @Option(help: ArgumentHelp("Directory to write; absent or empty.", valueName: "dir"))
  var out: String

  @Option(name: .customLong("as"), help: "Container: codes and scales, or a model folder in fp32.")
  var container = ContainerChoice.anchor

  @Flag(help: "Check everything and say what would be written, without writing.")
  var dryRun = false

  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard !choices.contains(.stored) || choices.count == 1 else {
      throw ValidationError("stored is written alone. Convert to the others after it.")
    }
    guard choices.contains(.fullPrecision) else { return }
    guard choices.count == 1 else { throw ValidationError("fp32 is written alone. Convert to the others after it.") }
    guard container == .dense else { throw ValidationError("fp32 is written as a model folder. Add --as dense.") }
  }

  func run() throws {
    try SingleProcess.require("convert")
    if choices == [.fullPrecision] { return try exportFullPrecision() }
    let converter = try Converter(source.open(output))
    let meter = output.meter("convert", unit: "weights")
    let total = choices.count
    let report = { (progress: ConversionProgress) in
      let index = formats.firstIndex(of: progress.format) ?? 0
      meter.update(index * progress.total + progress.done, of: total * progress.total)
    }
    let plan =
      choices == [.stored]
      ? try converter.convertAsStored(out: out, as: container.container, dryRun: dryRun, progress: report)
      : try converter.convert(to: formats, out: out, as: container.container, dryRun: dryRun, progress: report)
    meter.finish()
    try output.print(json(plan), text(plan))
  }

  private func exportFullPrecision() throws {
    let converter = try Converter(source.open(output)), meter = output.meter("convert", unit: "weights")
    let bytes = try converter.convertToFullPrecision(out: out, dryRun: dryRun) { meter.update($0, of: $1) }
    meter.finish()
    try output.print(
      [
        "source": .string(converter.source.path), "as": "dense", "dry_run": .bool(dryRun),
        "outputs": [
          ["format": "fp32", "directory": .string(out), "written_bytes": dryRun ? .null : .integer(bytes)]
        ],
      ],
      dryRun
        ? "Nothing was written (--dry-run).\n"
        : "wrote the fp32 weights of \(converter.source.path) as a model folder, \(Figures.bytes(bytes)): \(out)\n")
  }

  private func text(_ plan: ConversionPlan) -> String {
    var table = TextTable([
      .init("format"), .init("how"), .init("tensors", .right), .init("bits per weight", .right),
      .init("bits per parameter", .right), .init("content", .right), .init("written", .right), .init("to"),
    ])
    for output in plan.outputs {
      table.add([
        output.mix.description, output.label, "\(output.quantizedTensors) of \(output.tensors.count)",
        Figures.fixed(output.bitsPerWeight, 2), Figures.fixed(output.bitsPerParameter, 2),
        Figures.bytes(output.totalBytes), output.writtenBytes.map(Figures.bytes) ?? "-", output.directory,
      ])
    }
    return table.plain + (dryRun ? "\nNothing was written (--dry-run).\n" : "")
  }

  private func json(_ plan: ConversionPlan) -> JSONValue {
    [
      "source": .string(plan.source), "as": .string(plan.container.rawValue), "dry_run": .bool(dryRun),
      "outputs": .array(plan.outputs.map { output in
        [
          "format": .string(output.mix.description), "directory": .string(output.directory),
          "method": .string(output.label),
          "quantized_tensors": .integer(output.quantizedTensors), "tensors": .integer(output.tensors.count),
          "bits_per_weight": .number(output.bitsPerWeight), "bits_per_parameter": .number(output.bitsPerParameter),
          "code_bytes": .integer(output.codeBytes), "scale_bytes": .integer(output.scaleBytes),
          "dense_bytes": .integer(output.denseBytes), "content_bytes": .integer(output.totalBytes),
          "written_bytes": output.writtenBytes.map { .integer($0) } ?? .null,
        ]
      }),
    ]
  }
}
