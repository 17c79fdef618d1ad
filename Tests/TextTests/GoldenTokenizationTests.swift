import Foundation
import TestSupport
import Testing
import Text

/// Ids and texts of the `tokenizers` library 0.23.3, see `golden/tokenization` of the shared data.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)"))
struct GoldenTokenizationTests {
  struct Golden: Decodable {
    struct Case: Decodable {
      let text: String
      let kind: String
    }
    struct Row: Decodable {
      let ids: [Int32]
      let decoded: String
    }
    struct DecodeOnly: Decodable {
      let ids: [Int32]
      let decoded: String
      let decoded_skipping_special: String
    }
    struct Results: Decodable {
      let cases: [Row]
      let decode_only: [DecodeOnly]
    }
    let cases: [Case]
    let tokenizers: [String: Results]
  }

  static let folders = [
    "stories260K": "stories260K/hf", "tinystories-656k": "tinystories-656k",
    "novels-llama-11m": "novels-llama-11m", "novels-qwen3-29m": "novels-qwen3-29m",
  ]

  static func tokenizer(_ name: String) throws -> Tokenizer {
    try Tokenizer(contentsOf: SharedData.url("models/\(folders[name]!)/tokenizer.json").path)
  }

  static func golden() throws -> Golden {
    try JSONDecoder().decode(Golden.self, from: SharedData.data("golden/tokenization/tokenization.json"))
  }

  /// Strings are compared by scalars: `==` of `String` takes canonically equivalent ones for equal.
  static func scalars(_ text: String) -> [UInt32] { text.unicodeScalars.map(\.value) }

  @Test(arguments: folders.keys.sorted())
  func idsAndTextsAreThoseOfTheLibrary(_ name: String) throws {
    let golden = try Self.golden()
    let tokenizer = try Self.tokenizer(name)
    let results = try #require(golden.tokenizers[name])
    #expect(results.cases.count == 489 && golden.cases.count == 489)
    for (item, row) in zip(golden.cases, results.cases) {
      let ids = try tokenizer.encode(item.text)
      #expect(ids == row.ids, "\(item.kind): \(item.text.debugDescription)")
      #expect(Self.scalars(tokenizer.decode(row.ids)) == Self.scalars(row.decoded), "\(item.text.debugDescription)")
      #expect(try tokenizer.encodeWithoutCuts(item.text) == row.ids, "\(item.text.debugDescription)")
    }
    for item in results.decode_only {
      #expect(Self.scalars(tokenizer.decode(item.ids)) == Self.scalars(item.decoded), "\(item.ids)")
      #expect(
        Self.scalars(tokenizer.decode(item.ids, skippingSpecialTokens: true))
          == Self.scalars(item.decoded_skipping_special), "\(item.ids)")
    }
  }

  @Test(arguments: folders.keys.sorted())
  func streamedTextIsTheDecodedText(_ name: String) throws {
    let golden = try Self.golden()
    let tokenizer = try Self.tokenizer(name)
    let results = try #require(golden.tokenizers[name])
    for ids in results.cases.map(\.ids) + results.decode_only.map(\.ids) {
      var stream = TokenStreamDecoder(tokenizer)
      var text = ""
      for id in ids { text += stream.feed(id) }
      text += stream.finish()
      #expect(Self.scalars(text) == Self.scalars(tokenizer.decode(ids)), "\(ids)")
    }
  }

  /// Half a character is held back, a whole one is not.
  @Test func streamHoldsBackHalfACharacter() throws {
    let tokenizer = try Self.tokenizer("novels-llama-11m")
    let ids = try tokenizer.encode("x😀y")
    #expect(ids.count == 6, "the emoji is four byte tokens: \(ids)")
    var stream = TokenStreamDecoder(tokenizer)
    #expect(ids.map { stream.feed($0) } == ["x", "", "", "", "😀", "y"])
  }

  @Test func counts() throws {
    let stories = try Self.tokenizer("stories260K")
    #expect(stories.vocabularySize == 512)
    #expect(stories.beginningOfTextID == 1)
    #expect(stories.isSpecial(1) && !stories.isSpecial(3))
    #expect(stories.token(1) == "<s>" && stories.id(of: "</s>") == 2 && stories.token(512) == nil)
    let novels = try Self.tokenizer("novels-llama-11m")
    #expect(novels.vocabularySize == 4096)
    #expect(novels.beginningOfTextID == nil)
    #expect(novels.contentHash.utf8.count == 32)
  }

  /// A text of 200 thousand bytes in one piece, cut into words and not, through the scan and through the heap.
  @Test(arguments: ["stories260K", "tinystories-656k"])
  func cutsAndHeapChangeNothingOnALongText(_ name: String) throws {
    let text = String(decoding: try SharedData.data("golden/text/tinystories_200k.txt"), as: UTF8.self)
    let tokenizer = try Self.tokenizer(name)
    let ids = try tokenizer.encode(text)
    #expect(try ids == tokenizer.encodeWithoutCuts(text))
    if name == "tinystories-656k" { #expect(ids.count == 51_850) }
    // The other vocabulary has no byte tokens, so its text does not come back.
    if name == "stories260K" {
      let isRestored = Self.scalars(tokenizer.decode(ids)) == Self.scalars(text)
      #expect(isRestored)
    }
  }
}
