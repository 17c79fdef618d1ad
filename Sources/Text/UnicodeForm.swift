// The compatibility decompositions are not in the standard library; Foundation has all four forms.
internal import Foundation

/// The normalization forms of Unicode (UAX 15), by the tables of Foundation's Unicode version. Characters added to
/// Unicode since then count as having no decomposition and combining class 0.
enum UnicodeForm: String, Sendable {
  case nfc = "NFC"
  case nfd = "NFD"
  case nfkc = "NFKC"
  case nfkd = "NFKD"

  /// ASCII is its own normal form in all four.
  func apply(_ text: [UInt8]) -> [UInt8] {
    guard text.contains(where: { $0 >= 0x80 }) else { return text }
    let string = String(decoding: text, as: UTF8.self)
    let normalized =
      switch self {
      case .nfc: string.precomposedStringWithCanonicalMapping
      case .nfd: string.decomposedStringWithCanonicalMapping
      case .nfkc: string.precomposedStringWithCompatibilityMapping
      case .nfkd: string.decomposedStringWithCompatibilityMapping
      }
    return Array(normalized.utf8)
  }
}
