public import Formats

/// How a weight reaches the format of the step (they differ measurably: two roundings or one).
public enum ForwardPath: Sendable, Hashable {
  /// master -> format
  case direct
  /// master -> anchor -> slice: the forward pass sees, to the bit, what the anchor file will give.
  case viaAnchor(MXFormat)

  /// - Throws: `QuantizationError` when the anchor cannot give one of the formats, listing the formats that can be anchor
  ///   for all of them, or saying that integers and floats never share one.
  public func check(_ formats: [MXFormat]) throws(QuantizationError) {
    guard case .viaAnchor(let anchor) = self else { return }
    let families = Set(formats.map(\.family))
    guard families.count <= 1 else {
      throw QuantizationError(
        .formats, expected: "formats of one family, because one anchor gives them all (path via_anchor)",
        found: formats.map(\.name).joined(separator: ", "),
        hint: "an MXINT anchor holds integers and an MXFP anchor small floats, and neither can be cut into the other: "
          + "train the families apart, or set path: direct")
    }
    let missing = formats.filter { !Self.canGive($0, from: anchor) }
    guard missing.isEmpty else {
      let able = Self.anchors(for: formats).map(\.name)
      throw QuantizationError(
        .anchor, expected: "an anchor that gives \(formats.map(\.name).joined(separator: ", "))",
        found: "\(anchor.name), which does not give \(missing.map(\.name).joined(separator: ", "))",
        hint: able.isEmpty ? "no format gives them all: set path: direct" : "one of \(able.joined(separator: ", ")) can")
    }
  }

  /// Whether `format` is `anchor` itself or a slice of it.
  public static func canGive(_ format: MXFormat, from anchor: MXFormat) -> Bool {
    format == anchor || SlicePlan.formatsCut(from: anchor).contains(format)
  }

  /// The formats out of which every one of `formats` can be cut.
  public static func anchors(for formats: [MXFormat]) -> [MXFormat] {
    MXFormat.all.filter { anchor in formats.allSatisfy { canGive($0, from: anchor) } }
  }
}

extension MXFormat.Family {
  /// The anchor of the family: its widest format; for floats E4M3, because E5M2 costs 1.2 dB more at 4 bits.
  public var anchor: MXFormat {
    switch self {
    case .integer: .mxint8
    case .float: .mxfp8_e4m3
    }
  }
}
