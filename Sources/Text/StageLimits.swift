/// What a file may ask of the stages. No tokenizer in use comes near either bound; a file that does would take the
/// stack or the memory of whoever encodes a line with it.
enum StageLimits {
  /// Stages in a row, each a call inside the one before.
  static let stages = 64
  /// How many times longer replacements, one after the other, may make a text.
  static let growth = 1 << 10

  static func check(_ count: Int, _ stage: StageReader) throws(TextError) {
    guard count <= stages else { throw stage.unsupported("at most \(stages) stages", "\(count)") }
  }

  /// `growth` times what one more replacement of `shortest` bytes or more by `content` bytes allows; a match may be
  /// empty (0), and then each byte gets a replacement beside it.
  static func grown(
    _ growth: Int, from shortest: Int, to content: Int, _ stage: StageReader
  ) throws(TextError) -> Int {
    let factor = shortest == 0 ? content + 1 : max(1, (content + shortest - 1) / shortest)
    guard factor <= Self.growth, growth * factor <= Self.growth else {
      throw stage.unsupported("replacements that make a text at most \(Self.growth) times longer", "more")
    }
    return growth * factor
  }
}
