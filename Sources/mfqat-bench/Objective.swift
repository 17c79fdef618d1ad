import Formats

/// What the measured run trains for.
struct MeasuredObjective {
  let name: String
  let formats: [MXFormat]

  static let fullPrecision = MeasuredObjective(name: "fp32", formats: [])

  static let help = "fp32, mxint (mxint2, 4, 6 and 8), mxfp (mxfp4, both mxfp6, mxfp8_e4m3), or formats joined by +."

  /// - Throws: `UnknownFormat`.
  static func named(_ name: String) throws(UnknownFormat) -> MeasuredObjective {
    switch name {
    case "fp32": .fullPrecision
    case "mxint": MeasuredObjective(name: name, formats: [.mxint2, .mxint4, .mxint6, .mxint8])
    case "mxfp": MeasuredObjective(name: name, formats: [.mxfp4, .mxfp6_e2m3, .mxfp6_e3m2, .mxfp8_e4m3])
    default:
      MeasuredObjective(name: name, formats: try parse(name))
    }
  }

  private static func parse(_ name: String) throws(UnknownFormat) -> [MXFormat] {
    var formats: [MXFormat] = []
    for part in name.split(separator: "+", omittingEmptySubsequences: false) {
      formats.append(try MXFormat(named: String(part)))
    }
    return formats
  }
}
