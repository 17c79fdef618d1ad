public import Checkpoints
public import Formats
import Quantization

/// What a calibration does, as its name says: parts joined by `+`, such as `gptq+awq`.
///
/// | part | what it is |
/// | --- | --- |
/// | rtn | to nearest (the default) |
/// | gptq | columns with error feedback, scales from the weights as they stand at a block's first column |
/// | gptq-block | blocks of 32 rounded at once, the exact update between blocks |
/// | mr-gptq | hadamard + columns by falling energy with scales fixed beforehand |
/// | awq, awq-clip | scales by activation magnitudes; the same with clipped blocks |
/// | smoothquant | scales that share the range between activations and weights |
/// | quarot | residual stream, values and o, down inputs rotated |
/// | hadamard | all four inputs rotated in blocks |
/// | roste | the rotations of quarot, or of hadamard where that is named, only where a layer gains |
/// | magr | smaller row maxima (approximate) |
/// | upstream | corrects every product for what rounding before it has changed |
/// | slanc | records the constants of static norm scales |
public struct CalibrationMethod: Sendable, Hashable, CustomStringConvertible {
  public enum Rounding: String, Sendable, Hashable {
    case nearest = "rtn"
    case columns = "gptq"
    case blocks = "gptq-block"
    case rotatedColumns = "mr-gptq"
  }

  public enum Rotation: Sendable, Hashable {
    case none, quaRot, blocks
  }

  public enum Scaling: Sendable, Hashable {
    case none, smoothQuant
    case awq(clips: Bool)
  }

  public var rounding = Rounding.nearest
  public var rotation = Rotation.none
  public var choosesRotations = false
  public var scaling = Scaling.none
  public var reducesMaxima = false
  public var recordsNormScales = false
  public var correctsUpstream = false

  public static let partNames = [
    "rtn", "gptq", "gptq-block", "mr-gptq", "awq", "awq-clip", "smoothquant", "quarot", "hadamard", "roste", "magr",
    "slanc", "upstream",
  ]

  public init() {}

  /// - Throws: `CalibrationError` for a part that does not exist, and for parts that exclude each other.
  public init(_ name: String) throws(CalibrationError) {
    var rounding: Rounding?, rotations: [String] = [], scalings: [String] = []
    for part in name.lowercased().split(separator: "+", omittingEmptySubsequences: false).map(String.init) {
      switch part {
      case "rtn", "gptq", "gptq-block", "mr-gptq":
        guard rounding == nil else {
          throw CalibrationError("method '\(name)'", "names two ways of rounding, \(rounding!.rawValue) and \(part)",
            hint: "Choose one.")
        }
        rounding = Rounding(rawValue: part)
        if part == "mr-gptq" { rotations.append(part) }
      case "quarot", "hadamard": rotations.append(part)
      case "roste": choosesRotations = true
      case "awq", "awq-clip", "smoothquant": scalings.append(part)
      case "magr": reducesMaxima = true
      case "slanc": recordsNormScales = true
      case "upstream": correctsUpstream = true
      default:
        let nearest = NearestName.to(part, among: Self.partNames).map { "; the nearest is '\($0)'" } ?? ""
        throw CalibrationError("method '\(name)'", "'\(part)' is no method\(nearest)",
          hint: "Known, to be joined by +: \(Self.partNames.joined(separator: ", ")).")
      }
    }
    // mr-gptq brings blocks; naming them as well says nothing new.
    let kinds = Set(rotations.map { $0 == "quarot" ? Rotation.quaRot : .blocks })
    guard kinds.count <= 1 else {
      throw CalibrationError("method '\(name)'", "rotates twice: \(rotations.joined(separator: " and "))", hint: "Choose one.")
    }
    guard scalings.count <= 1 else {
      throw CalibrationError("method '\(name)'", "scales twice: \(scalings.joined(separator: " and "))", hint: "Choose one.")
    }
    self.rounding = rounding ?? .nearest
    rotation = kinds.first ?? (choosesRotations ? .quaRot : .none)
    scaling =
      switch scalings.first {
      case "awq": .awq(clips: false)
      case "awq-clip": .awq(clips: true)
      case "smoothquant": .smoothQuant
      default: .none
      }
  }

  /// The canonical name: equal methods have equal names.
  public var description: String {
    var parts: [String] = []
    if choosesRotations { parts.append("roste") }
    if rotation == .quaRot && !choosesRotations { parts.append("quarot") }
    if rotation == .blocks && rounding != .rotatedColumns { parts.append("hadamard") }
    switch scaling {
    case .none: break
    case .smoothQuant: parts.append("smoothquant")
    case .awq(let clips): parts.append(clips ? "awq-clip" : "awq")
    }
    if reducesMaxima { parts.append("magr") }
    if recordsNormScales { parts.append("slanc") }
    if correctsUpstream { parts.append("upstream") }
    if rounding != .nearest || parts.isEmpty { parts.append(rounding.rawValue) }
    return parts.joined(separator: "+")
  }

  /// Whether calibration text is looked at. Without, weights alone decide.
  public var readsText: Bool {
    rounding != .nearest || scaling != .none || reducesMaxima || choosesRotations || correctsUpstream
  }
}
