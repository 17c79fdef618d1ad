/// A block number format: one element type, blocks of 32 along the input axis, one E8M0 scale a block.
///
/// A format is a value: configuration, container, kernel, wire and report share this one.
/// Source: OCP Microscaling Formats (MX) v1.0, table 1; MXINT2...7 are extensions with two's complement elements.
public struct MXFormat: Sendable, Hashable {
  /// The canonical name, lower case: `mxint4`, `mxfp6_e2m3`.
  public let name: String
  public let element: ElementFormat

  /// Elements that share one scale.
  public static let blockSize = 32

  /// A format outside ``all``, for experiments and tests; it has no name that ``init(named:)`` knows.
  package init(_ name: String, _ element: ElementFormat) {
    self.name = name
    self.element = element
  }
}

extension MXFormat {
  public enum Family: String, Sendable, Hashable, CaseIterable {
    case integer, float
  }

  public var bits: Int { element.bits }
  public var family: Family { element.isInteger ? .integer : .float }

  /// Storage of a weight: the element and its part of the block's scale byte.
  public var bitsPerWeight: Double { Double(bits) + 8 / Double(Self.blockSize) }

  /// Whether lower formats may be cut from it: the formats of 8 bits.
  public var isAnchor: Bool { bits == 8 }

  /// Bytes of a densely packed matrix: codes of `bits` each, every row rounded up to a byte, and its scale bytes.
  public func packedByteCount(rows: Int, columns: Int) -> Int {
    rows * ((columns * bits + 7) / 8 + (columns + Self.blockSize - 1) / Self.blockSize)
  }
}

extension MXFormat: CustomStringConvertible {
  public var description: String { name }
}

// MARK: - The formats

extension MXFormat {
  public static let mxint2 = MXFormat("mxint2", .integer(bits: 2))
  public static let mxint3 = MXFormat("mxint3", .integer(bits: 3))
  public static let mxint4 = MXFormat("mxint4", .integer(bits: 4))
  public static let mxint5 = MXFormat("mxint5", .integer(bits: 5))
  public static let mxint6 = MXFormat("mxint6", .integer(bits: 6))
  public static let mxint7 = MXFormat("mxint7", .integer(bits: 7))
  public static let mxint8 = MXFormat("mxint8", .integer(bits: 8))
  public static let mxfp4 = MXFormat("mxfp4", .float(exponentBits: 2, mantissaBits: 1))
  public static let mxfp6_e2m3 = MXFormat("mxfp6_e2m3", .float(exponentBits: 2, mantissaBits: 3))
  public static let mxfp6_e3m2 = MXFormat("mxfp6_e3m2", .float(exponentBits: 3, mantissaBits: 2))
  public static let mxfp8_e4m3 = MXFormat("mxfp8_e4m3", .float(exponentBits: 4, mantissaBits: 3))
  public static let mxfp8_e5m2 = MXFormat("mxfp8_e5m2", .float(exponentBits: 5, mantissaBits: 2))

  /// Every named format: the integers, then the floats, each ascending by width.
  public static let all: [MXFormat] = [
    mxint2, mxint3, mxint4, mxint5, mxint6, mxint7, mxint8,
    mxfp4, mxfp6_e2m3, mxfp6_e3m2, mxfp8_e4m3, mxfp8_e5m2,
  ]

  /// The format of that name, in any case. `mxfp6` and `mxfp8` alone are refused: each could be two formats.
  public init(named name: String) throws(UnknownFormat) {
    let wanted = name.lowercased()
    guard let format = Self.all.first(where: { $0.name == wanted }) else { throw UnknownFormat(name) }
    self = format
  }
}

/// A name that is no format's.
public struct UnknownFormat: Error, Sendable, Hashable, CustomStringConvertible {
  public let name: String
  /// The known name that is closest to it.
  public let nearest: String
  /// The formats the name could stand for, if it is the beginning of several.
  public let candidates: [String]

  public var known: [String] { MXFormat.all.map(\.name) }

  init(_ name: String) {
    self.name = name
    let wanted = name.lowercased()
    let begun = wanted.isEmpty ? [] : MXFormat.all.map(\.name).filter { $0.hasPrefix(wanted + "_") }
    candidates = begun
    nearest = begun.first ?? MXFormat.all.map(\.name).min { editDistance($0, wanted) < editDistance($1, wanted) }!
  }

  public var description: String {
    let hint = candidates.count > 1
      ? "it could be \(candidates.joined(separator: " or "))" : "the nearest name is \(nearest)"
    return "unknown format '\(name)': \(hint); known formats: \(known.joined(separator: ", "))"
  }
}

/// Insertions, deletions and substitutions between two short texts (Levenshtein distance).
private func editDistance(_ a: String, _ b: String) -> Int {
  let a = Array(a.utf8), b = Array(b.utf8)
  var row = Array(0...b.count)
  for i in a.indices {
    var diagonal = row[0]
    row[0] = i + 1
    for j in b.indices {
      let substituted = diagonal + (a[i] == b[j] ? 0 : 1)
      diagonal = row[j + 1]
      row[j + 1] = min(substituted, diagonal + 1, row[j] + 1)
    }
  }
  return row[b.count]
}
