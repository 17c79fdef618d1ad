import ArgumentParser
import Calibration
import Formats

/// Formats that a calibration chooses for itself.
struct AllocationOptions: ParsableArguments {
  @Option(help: ArgumentHelp(
    "Instead of --format: choose a format for every group of weights (qkv, o, gate and up, down of a layer), with so many bits a weight in all, scales included.",
    valueName: "x"))
  var bits: Double?

  @Option(help: ArgumentHelp(
    "Formats that --bits chooses from. (default: mxint2 to mxint8)", valueName: "format,…"))
  var choices: String?

  @Option(help: ArgumentHelp(
    "Sequences that --bits measures sensitivities on, the first of the calibration's. (default: 16, or all)",
    valueName: "n"))
  var sensitivityWindows: Int?

  /// - Parameter sequences: of the sample.
  func request(sequences: Int) throws -> AllocationRequest? {
    guard let bits else { return nil }
    var request = AllocationRequest(bitsPerWeight: bits, windows: sensitivityWindows ?? min(16, sequences))
    if let choices {
      request.candidates = try FormatLists.formats(choices, of: "--choices")
    }
    return request
  }

  /// - Parameters: what else the command was given.
  func validate(format: String?, compares: Bool, hasText: Bool, hasTargets: Bool) throws {
    guard let bits else {
      if format == nil {
        throw ValidationError("Name a format with --format, or with --bits how many bits a weight may take.")
      }
      if choices != nil { throw ValidationError("--choices are what --bits chooses from: name a budget, or a --format alone.") }
      if sensitivityWindows != nil { throw ValidationError("--sensitivity-windows is for --bits: formats are given here.") }
      return
    }
    if !(bits > 0 && bits.isFinite) { throw ValidationError("--bits \(bits): expected a positive number, such as 4.25.") }
    if compares {
      throw ValidationError(
        "--bits with --compare: one allocation is calibrated at a time. Calibrate each, and put the anchors side by side with mfqat compare or mfqat evaluate.")
    }
    if let format { throw ValidationError("--bits chooses formats, --format \(format) names one: give one of the two.") }
    if hasTargets { throw ValidationError("--targets are slices of one anchor, --bits makes several formats: give one of the two.") }
    if !hasText { throw ValidationError("--bits measures how much the model bears: name a calibration text with --text.") }
    if let sensitivityWindows, sensitivityWindows < 1 {
      throw ValidationError("--sensitivity-windows \(sensitivityWindows): at least one is needed.")
    }
  }
}
