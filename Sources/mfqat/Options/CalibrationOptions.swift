import ArgumentParser
import Calibration
import Formats
import Kernels
import Quantization

/// How a calibration works, beside its method and format.
struct CalibrationOptions: ParsableArguments {
  @Option(help: ArgumentHelp(
    "Formats whose slices count when an 8-bit anchor is calibrated, each with an optional weight.",
    valueName: "format[:weight],…"))
  var targets: String?

  @Option(help: ArgumentHelp(
    """
    Scales of blocks: floor, rceil, even, better-of-two, or mse[:norm]. (default: floor for rtn and anchors, else mse:2.4 for \
    MXINT and better-of-two for MXFP)
    """,
    valueName: "rule"))
  var scales: String?

  @Option(help: ArgumentHelp("Relative damping of second moments.", valueName: "x"))
  var damping = 0.01

  @Option(help: ArgumentHelp("SmoothQuant: the share of the range that weights take over.", valueName: "x"))
  var alpha = 0.5

  @Option(help: ArgumentHelp("Elements of a block rotation: 16, 32, 64 or 128.", valueName: "n"))
  var rotationBlock = 32

  @Option(help: ArgumentHelp("Seed of random signs of rotations. (default: no signs for blocks, 0 for quarot)", valueName: "n"))
  var signs: UInt64?

  @Option(help: ArgumentHelp("Calibration sequences.", valueName: "n"))
  var sequences = 128

  @Option(help: ArgumentHelp("Tokens of a sequence. (default: 512, or what the model allows)", valueName: "n"))
  var context: Int?

  @Option(help: ArgumentHelp("Seed of the draw of sequences.", valueName: "n"))
  var seed: UInt64 = 0

  @Option(help: ArgumentHelp(
    "Format that inputs of linear layers will be rounded to when the model runs: for roste, and for --round-inputs.",
    valueName: "format"))
  var activations: String?

  @Flag(help: "Take statistics of inputs as they will be rounded.")
  var roundInputs = false

  @Option(help: ArgumentHelp("Quantize tensors that match one of these patterns, separated by commas.", valueName: "patterns"))
  var include: String?

  @Option(help: ArgumentHelp("Leave tensors that match one of these in full precision.", valueName: "patterns"))
  var exclude: String?

  func settings(_ method: CalibrationMethod, _ format: MXFormat) throws -> CalibrationSettings {
    var settings = CalibrationSettings(method, format: format)
    settings.targets = try targets.map(Self.targets) ?? []
    settings.scales = try scales.map(Self.scales)
    settings.damping = damping
    settings.alpha = alpha
    settings.rotationBlock = rotationBlock
    settings.signSeed = signs ?? (method.rotation == .quaRot ? 0 : nil)
    settings.activations = try activations.map { try MXFormat(named: $0) }
    settings.roundsInputs = roundInputs
    if let include { settings.selection.include = Self.list(include) }
    if let exclude { settings.selection.exclude = Self.list(exclude) }
    try settings.check()
    return settings
  }

  /// Commas inside braces belong to a pattern.
  private static func list(_ text: String) -> [String] {
    var parts = [""], depth = 0
    for character in text {
      if character == "{" { depth += 1 }
      if character == "}" { depth -= 1 }
      if character == "," && depth == 0 { parts.append("") } else { parts[parts.count - 1].append(character) }
    }
    return parts
  }

  private static func targets(_ text: String) throws -> [RoundingTarget] {
    try text.split(separator: ",").map { part in
      let fields = part.split(separator: ":", maxSplits: 1)
      let format = try MXFormat(named: String(fields[0]))
      guard fields.count == 2 else { return RoundingTarget(format) }
      guard let weight = Double(String(fields[1])), weight > 0 else {
        throw Refusal("--targets \(part): expected a positive weight after the colon, found '\(fields[1])'.")
      }
      return RoundingTarget(format, weight: weight)
    }
  }

  private static func scales(_ text: String) throws -> ScaleSearch {
    let fields = text.lowercased().split(separator: ":", maxSplits: 1).map(String.init)
    if let rule = ScaleRule(text) { return .rule(rule) }
    switch fields.first {
    case "better-of-two": return .betterOfTwo
    case "mse":
      guard let norm = fields.count == 2 ? Float(fields[1]) : 2 else {
        throw Refusal("--scales \(text): expected a norm after the colon, such as 2.4.")
      }
      return .search(norm: norm, from: -3, through: 1)
    default:
      throw Refusal("--scales \(text): expected floor, rceil, even, better-of-two, mse or mse:2.4.")
    }
  }
}
