import ArgumentParser
import Checkpoints

/// How a command speaks.
struct OutputOptions: ParsableArguments {
  @Flag(help: "Print one JSON object on standard output.")
  var json = false

  @Flag(name: [.short, .long], help: "No progress and no notes on standard error.")
  var quiet = false

  /// The result: the object for machines, or the text for people.
  func print(_ object: JSONValue, _ text: @autoclosure () -> String) throws {
    if json {
      try Terminal.output(String(decoding: object.serialized(order: .given), as: UTF8.self) + "\n")
    } else {
      try Terminal.outputForeign(text())
    }
  }

  /// Something worth knowing that is no result.
  func note(_ line: String) {
    if !quiet { Terminal.note("note: " + line) }
  }

  func meter(_ title: String, unit: String) -> ProgressMeter { ProgressMeter(title, unit: unit, quiet: quiet) }
}
