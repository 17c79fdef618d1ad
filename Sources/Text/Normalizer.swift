/// The first stage: rewrites the text between added tokens before anything is cut.
enum Normalizer: Sendable {
  case sequence([Normalizer])
  /// In front of every text that is not empty.
  case prepend([UInt8])
  case replace(Matcher, with: [UInt8])
  case form(UnicodeForm)
  /// Scalar by scalar, without context: a final Σ becomes σ.
  case lowercase
  case strip(left: Bool, right: Bool)

  /// - Returns: nil where the file has no normalizer.
  static func read(_ stage: StageReader) throws(TextError) -> Normalizer? {
    guard !stage.value.isNull else { return nil }
    let normalizer = try one(stage)
    let members = normalizer.flattened
    try StageLimits.check(members.count, stage)
    var growth = 1
    for case .replace(let matcher, let content) in members {
      let shortest = if case .literal(let needle) = matcher { needle.count } else { 0 }
      growth = try StageLimits.grown(growth, from: shortest, to: content.count, stage)
    }
    return normalizer
  }

  private var flattened: [Normalizer] {
    if case .sequence(let members) = self { members.flatMap(\.flattened) } else { [self] }
  }

  private static func one(_ stage: StageReader) throws(TextError) -> Normalizer {
    let type = try stage.type()
    switch type {
    case "Sequence":
      var members: [Normalizer] = []
      for member in try stage.elements("normalizers") { members.append(try one(member)) }
      return .sequence(members)
    case "Prepend": return .prepend(try stage.bytes("prepend"))
    case "Replace": return .replace(try stage.matcher("pattern"), with: try stage.bytes("content"))
    case "NFC", "NFD", "NFKC", "NFKD": return .form(UnicodeForm(rawValue: type)!)
    case "Lowercase": return .lowercase
    case "Strip":
      return .strip(left: try stage.bool("strip_left", default: true), right: try stage.bool("strip_right", default: true))
    default:
      throw stage.unsupported(
        "a normalizer Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase or Strip", "normalizer \(type)")
    }
  }

  func apply(_ text: inout [UInt8]) {
    switch self {
    case .sequence(let members): for member in members { member.apply(&text) }
    case .prepend(let prefix): if !text.isEmpty { text.insert(contentsOf: prefix, at: 0) }
    case .replace(let matcher, let content): text = matcher.replacing(in: text.span, with: content)
    case .form(let form): text = form.apply(text)
    case .lowercase: text = Self.lowercased(text)
    case .strip(let left, let right): Self.strip(&text, left: left, right: right)
    }
  }

  private static func lowercased(_ text: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
      if scalar.isASCII {
        let byte = UInt8(scalar.value)
        result.append((0x41...0x5A).contains(byte) ? byte | 0x20 : byte)
      } else {
        result += scalar.properties.lowercaseMapping.utf8
      }
    }
    return result
  }

  private static func strip(_ text: inout [UInt8], left: Bool, right: Bool) {
    let scalars = String(decoding: text, as: UTF8.self).unicodeScalars
    var kept = scalars[...]
    if left { kept = kept.drop { $0.properties.isWhitespace } }
    if right { while let last = kept.last, last.properties.isWhitespace { kept.removeLast() } }
    if kept.count != scalars.count { text = Array(String(kept).utf8) }
  }
}
