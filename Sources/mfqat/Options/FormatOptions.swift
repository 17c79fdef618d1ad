import ArgumentParser
import Formats

/// A format on the command line: full precision, whatever the source is stored in, or a block format.
enum FormatChoice: Hashable, CustomStringConvertible {
  case fullPrecision
  /// Of an anchor its own formats, which may be several; of everything else full precision.
  case stored
  case block(MXFormat)

  static let fullPrecisionName = "fp32"
  static let storedName = "stored"

  init(_ name: String) throws(UnknownFormat) {
    switch name.lowercased() {
    case Self.fullPrecisionName: self = .fullPrecision
    case Self.storedName: self = .stored
    default: self = .block(try MXFormat(named: name))
    }
  }

  var description: String {
    switch self {
    case .fullPrecision: Self.fullPrecisionName
    case .stored: Self.storedName
    case .block(let format): format.name
    }
  }

  var block: MXFormat? { if case .block(let format) = self { format } else { nil } }
}

/// Lists of formats: `mxint4,mxfp4`, in any case, each once.
enum FormatLists {
  static let known = "fp32 or " + MXFormat.all.map(\.name).joined(separator: ", ")

  static func choices(_ text: String) throws -> [FormatChoice] {
    try unique(names(text).map { try FormatChoice($0) })
  }

  /// Block formats alone.
  ///
  /// - Parameter option: that names them, for refusals.
  static func formats(_ text: String, of option: String) throws -> [MXFormat] {
    let formats = try unique(names(text).map { try MXFormat(named: $0) })
    guard !formats.isEmpty else { throw ValidationError("\(option): name at least one format.") }
    return formats
  }

  private static func names(_ text: String) -> [String] {
    text.split(separator: ",", omittingEmptySubsequences: false).map { part in
      String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
  }

  private static func unique<Format: Hashable>(_ formats: [Format]) throws -> [Format] {
    var seen: Set<Format> = []
    for format in formats where !seen.insert(format).inserted {
      throw ValidationError("\(format) is named twice. Name each format once.")
    }
    return formats
  }
}
