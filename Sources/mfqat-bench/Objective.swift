import Formats

import Quantization

/// What the measured run trains for, and what its products run in: `mxint`, `fp32@int8/int8`, `mxint@mx/mx/mx/bf16`.
struct MeasuredObjective {
  let name: String
  let formats: [MXFormat]
  /// Forward, backward, weight gradient, head; fewer leave the rest to the defaults.
  let precisions: [MatmulPrecision]

  static let help = """
    fp32, mxint (mxint2, 4, 6 and 8), mxfp (mxfp4, both mxfp6, mxfp8_e4m3), or formats joined by +; behind @ the \
    precision of forward/backward/weight gradient/head, e.g. mxint@mx/mx.
    """

  struct UnknownPrecision: Error, CustomStringConvertible {
    let name: String
    var description: String {
      "unknown precision '\(name)': expected one of \(MatmulPrecision.allCases.map(\.rawValue).joined(separator: ", "))"
    }
  }

  static func named(_ name: String) throws -> MeasuredObjective {
    let parts = name.split(separator: "@", maxSplits: 1)
    let precisions = try parts.dropFirst().flatMap { $0.split(separator: "/") }.map { text in
      guard let precision = MatmulPrecision(rawValue: String(text)) else { throw UnknownPrecision(name: String(text)) }
      return precision
    }
    return MeasuredObjective(name: name, formats: try formats(String(parts.first ?? "")), precisions: precisions)
  }

  /// The `training.precision` section.
  var precisionYAML: String {
    let keys = ["forward", "backward", "weight_gradient", "head"]
    return "{" + zip(keys, precisions).map { "\($0): \($1.rawValue)" }.joined(separator: ", ") + "}"
  }

  private static func formats(_ name: String) throws(UnknownFormat) -> [MXFormat] {
    switch name {
    case "fp32": []
    case "mxint": [.mxint2, .mxint4, .mxint6, .mxint8]
    case "mxfp": [.mxfp4, .mxfp6_e2m3, .mxfp6_e3m2, .mxfp8_e4m3]
    default: try parse(name)
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
