/// Reads the members of one stage of a `tokenizer.json` and words the errors: file, stage, member, what was found.
struct StageReader {
  let value: JSONValue
  /// Where in the file, like `pre_tokenizer.pretokenizers[1]`.
  let place: String
  let source: String
  /// Of the tokenizer that is being read.
  let scans: ScanFailures

  /// The `type` member; a stage without one is malformed.
  func type() throws(TextError) -> String {
    guard let type = value["type"]?.text else { throw malformed("a stage with a type", value.kindName) }
    return type
  }

  func malformed(_ expected: String, _ found: String) -> TextError {
    TextError(.malformed, operation: "reading \(place)", path: source, expected: expected, found: found)
  }

  func unsupported(_ expected: String, _ found: String) -> TextError {
    TextError(
      .unsupported, operation: "reading \(place)", path: source, expected: expected, found: found,
      advice: "token ids would differ from the original tokenizer's, so the file is refused")
  }

  func inconsistent(_ expected: String, _ found: String) -> TextError {
    TextError(.inconsistent, operation: "reading \(place)", path: source, expected: expected, found: found)
  }

  func member(_ name: String) -> StageReader {
    StageReader(value: value[name] ?? .null, place: place.isEmpty ? name : "\(place).\(name)", source: source,
      scans: scans)
  }

  func bytes(_ name: String) throws(TextError) -> [UInt8] {
    guard let bytes = value[name]?.bytes else {
      throw malformed("a string \(name)", value[name]?.kindName ?? "none")
    }
    return bytes
  }

  /// A string of one character.
  func character(_ name: String) throws(TextError) -> [UInt8] {
    let character = try bytes(name)
    guard String(decoding: character, as: UTF8.self).unicodeScalars.count == 1 else {
      throw malformed("one character for \(name)", "\(character.count) bytes")
    }
    return character
  }

  func bool(_ name: String, default standard: Bool) throws(TextError) -> Bool {
    guard let member = value[name], !member.isNull else { return standard }
    guard let bool = member.bool else { throw malformed("true or false for \(name)", member.kindName) }
    return bool
  }

  func integer(_ name: String, default standard: Int) throws(TextError) -> Int {
    guard let member = value[name], !member.isNull else { return standard }
    guard let integer = member.integer else { throw malformed("an integer for \(name)", member.kindName) }
    return integer
  }

  /// The elements of an array member, each with its place.
  func elements(_ name: String) throws(TextError) -> [StageReader] {
    guard let elements = value[name]?.elements else {
      throw malformed("an array \(name)", value[name]?.kindName ?? "none")
    }
    return elements.enumerated().map { index, element in
      StageReader(
        value: element, place: place.isEmpty ? "\(name)[\(index)]" : "\(place).\(name)[\(index)]", source: source,
        scans: scans)
    }
  }

  /// `{"String": …}` or `{"Regex": …}`.
  func matcher(_ name: String) throws(TextError) -> Matcher {
    let pattern = value[name] ?? .null
    if let literal = pattern["String"]?.bytes {
      guard !literal.isEmpty else { throw unsupported("a pattern that is not empty", "\"\"") }
      return .literal(literal)
    }
    guard let expression = pattern["Regex"]?.text else {
      throw malformed("a \(name) of kind String or Regex", pattern.kindName)
    }
    return .pattern(try compile(expression))
  }

  func compile(_ expression: String) throws(TextError) -> Pattern {
    do { return try Pattern(expression, scans) } catch {
      throw unsupported("a regular expression", "\"\(expression)\" (\(error.reason), at \(error.offset))")
    }
  }
}
