import Testing
import Text

/// Stages on small vocabularies; expected values follow from the definitions of the stages.
@Suite struct TokenizerStageTests {
  static func tokenizer(_ json: String) throws -> Tokenizer { try Tokenizer(json: Array(json.utf8), source: "test.json") }

  static func pieces(_ json: String, _ text: String) throws -> [String] {
    let tokenizer = try tokenizer(json)
    return try tokenizer.encode(text).map { tokenizer.token($0)! }
  }

  @Test(arguments: [
    ("normalizer", #""type":"BertNormalizer""#, "normalizer BertNormalizer"),
    ("pre_tokenizer", #""type":"UnicodeScripts""#, "pre_tokenizer UnicodeScripts"),
    ("decoder", #""type":"WordPiece""#, "decoder WordPiece"),
    ("model", #""type":"Unigram""#, "model Unigram"),
  ])
  func unsupportedStagesAreNamed(_ stage: String, _ type: String, _ name: String) throws {
    let json =
      switch stage {
      case "normalizer": SmallTokenizers.byteLevel(normalizer: #"{"type":"Sequence","normalizers":[{\#(type)}]}"#)
      case "pre_tokenizer": SmallTokenizers.byteLevel(preTokenizer: "{\(type)}")
      case "decoder": SmallTokenizers.byteLevel(decoder: "{\(type)}")
      default: SmallTokenizers.byteLevel().replacing(#""type":"BPE""#, with: type)
      }
    let error = try #require(throws: TextError.self) { try Self.tokenizer(json) }
    #expect(error.kind == .unsupported && error.path == "test.json")
    #expect(error.description.contains(name) && error.operation.contains(stage), "\(error)")
  }

  @Test(arguments: [
    (SmallTokenizers.byteLevel(dropping: ["th"]), "\"th\""),
    (SmallTokenizers.byteLevel(dropping: ["Ġthe"]), "\"Ġthe\""),
    (SmallTokenizers.byteLevel(dropping: ["Ā"]), "byte 0"),
    (SmallTokenizers.byteLevel(model: #""unk_token":"<unk>","#), "<unk>"),
    (SmallTokenizers.byteLevel(model: #""dropout":0.1,"#), "dropout"),
    (SmallTokenizers.byteLevel(model: #""end_of_word_suffix":"</w>","#), "end_of_word_suffix"),
    (SmallTokenizers.byteLevel(added: #"[{"id":7,"content":"<s>","special":true}]"#), "\"<s>\""),
    (SmallTokenizers.byteLevel(added: #"[{"id":300,"content":"the","special":true}]"#), "\"the\""),
    (SmallTokenizers.characters(["a"], model: ""), "would vanish"),
    (SmallTokenizers.characters(["a", "a"]), "\"a\": 2"),
  ])
  func inconsistentFilesAreRefusedByName(_ json: String, _ name: String) throws {
    let error = try #require(throws: TextError.self) { try Self.tokenizer(json) }
    #expect(error.description.contains(name), "\(error)")
  }

  /// What PCRE2 would read otherwise than Oniguruma, or not at all.
  @Test(arguments: [
    "(", "[a", "a)", #"\p{Nonsense}"#, #"\h"#, #"\b"#, #"[\W]"#, "[a-z&&[^b]]", "[a[b]]", "a{1,2}+", "a{2}?", "a{,2}", "(?m:.)",
    "(?<n>a)", #"\"#,
  ])
  func patternsAreRefusedByText(_ pattern: String) throws {
    let quoted = SmallTokenizers.quoted(pattern)
    let json = SmallTokenizers.byteLevel(
      preTokenizer: """
        {"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":\(quoted)},"behavior":"Isolated"},
        {"type":"ByteLevel","use_regex":false}]}
        """)
    let error = try #require(throws: TextError.self) { try Self.tokenizer(json) }
    #expect(error.kind == .unsupported && error.found.contains(pattern), "\(error)")
    #expect(error.operation.contains("pretokenizers[0]"))
  }

  @Test func notATokenizer() {
    for json in ["", "{", "[]", "{}", "\u{FEFF}{}", #"{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}"#] {
      #expect(throws: TextError.self, "\(json)") { try Self.tokenizer(json) }
    }
    #expect(throws: TextError.self) { try Tokenizer(json: [0x7B, 0xFF, 0x7D], source: "x") }
    #expect(throws: TextError.self) { try Tokenizer(contentsOf: "/nonexistent/tokenizer.json") }
  }

  @Test func textThatIsNotUTF8IsAProgrammingError() async {
    await #expect(processExitsWith: .failure) {
      let tokenizer = try Tokenizer(json: Array(SmallTokenizers.byteLevel().utf8), source: "small")
      _ = try tokenizer.encode(utf8: [0x61, 0xFF])
    }
  }

  @Test func byteLevelMerges() throws {
    #expect(try Self.pieces(SmallTokenizers.byteLevel(), "the then") == ["the", "Ġthe", "n"])
    #expect(try Self.pieces(SmallTokenizers.byteLevel(), "é\n") == ["Ã", "©", "Ċ"])
    #expect(try Self.tokenizer(SmallTokenizers.byteLevel()).encode("") == [])
  }

  @Test func ignoringMergesTakesWholeTokens() throws {
    // "xyz" is a token that no order of merges reaches from "xyz": x+y comes first, and xy+z is none.
    let merges = [("x", "y"), ("y", "z"), ("x", "yz")]
    #expect(try Self.pieces(SmallTokenizers.byteLevel(merges: merges), "xyz") == ["xy", "z"])
    #expect(try Self.pieces(SmallTokenizers.byteLevel(merges: merges, model: #""ignore_merges":true,"#), "xyz") == ["xyz"])
  }

  /// Vocabulary entries that are canonically equivalent stay apart.
  @Test func canonicallyEquivalentTokensAreDistinct() throws {
    let json = SmallTokenizers.characters(["\u{E9}", "e", "\u{301}"], merges: ["e \u{301}"])
    let tokenizer = try Self.tokenizer(json)
    #expect(try tokenizer.encode("\u{E9}") == [1] && tokenizer.encode("e\u{301}") == [4])
    #expect(tokenizer.id(of: "e\u{301}") == 4)
    #expect(tokenizer.decode([4]).unicodeScalars.count == 2)
  }

  @Test(arguments: [
    ("Isolated", false, ["ab", ",", ",", "c", ","]), ("Removed", false, ["ab", "c"]), ("Removed", true, [",", ",", ","]),
    ("MergedWithPrevious", false, ["ab,", ",", "c,"]), ("MergedWithNext", false, ["ab", ",", ",c", ","]),
    ("Contiguous", false, ["ab", ",,", "c", ","]),
  ] as [(String, Bool, [String])])
  func splitBehaviors(_ behavior: String, _ invert: Bool, _ expected: [String]) throws {
    // Every piece is one token if the vocabulary has all of them and merges are ignored.
    let tokens = ["a", "b", "c", ",", "ab", "ab,", ",c", ",,", "c,"]
    let json = SmallTokenizers.characters(
      tokens,
      preTokenizer: #"{"type":"Split","pattern":{"String":","},"behavior":"\#(behavior)","invert":\#(invert)}"#,
      model: #""unk_token":"<unk>","ignore_merges":true,"#)
    #expect(try Self.pieces(json, "ab,,c,") == expected)
  }

  @Test(arguments: [
    ("first", ["▁a", "x", "a"]), ("always", ["▁a", "x", "▁a"]), ("never", ["a", "x", "a"]),
  ] as [(String, [String])])
  func metaspaceSchemes(_ scheme: String, _ expected: [String]) throws {
    let json = SmallTokenizers.characters(
      ["a", "▁"], merges: ["▁ a"],
      preTokenizer: #"{"type":"Metaspace","replacement":"▁","prepend_scheme":"\#(scheme)","split":true}"#,
      added: #"[{"id":9,"content":"x","special":true,"normalized":false}]"#)
    #expect(try Self.pieces(json, "axa") == expected)
  }

  @Test func unknownCharactersFuseOrNot() throws {
    let model = #""unk_token":"<unk>","fuse_unk":true,"#
    #expect(try Self.tokenizer(SmallTokenizers.characters(["a"], model: model)).encode("xya zz") == [0, 1, 0])
    #expect(try Self.tokenizer(SmallTokenizers.characters(["a"])).encode("xyaz") == [0, 0, 1, 0])
  }

  @Test(arguments: [
    ("Lowercase", "ÀΣİ", "àσi\u{307}"), ("NFC", "e\u{301}", "é"), ("NFD", "é", "e\u{301}"), ("NFKC", "ﬁ²", "fi2"),
    ("NFKD", "ǆ", "dz\u{30C}"), ("Strip", " \u{3000}a b\n", "a b"),
  ])
  func normalizers(_ type: String, _ text: String, _ expected: String) throws {
    let json = SmallTokenizers.byteLevel(
      merges: [], normalizer: #"{"type":"\#(type)"}"#, preTokenizer: #"{"type":"ByteLevel","add_prefix_space":false}"#)
    let tokenizer = try Self.tokenizer(json)
    #expect(try Array(tokenizer.decode(tokenizer.encode(text)).unicodeScalars) == Array(expected.unicodeScalars))
  }

  @Test func addedTokens() throws {
    let added = #"""
      [{"id":300,"content":"<l>","lstrip":true,"normalized":false}, {"id":301,"content":"<r>","rstrip":true,"normalized":false},
       {"id":302,"content":"<w>","single_word":true,"normalized":false}, {"id":303,"content":"<l><r>","normalized":false,"special":true}]
      """#
    let tokenizer = try Self.tokenizer(SmallTokenizers.byteLevel(added: added))
    func ids(_ text: String) throws -> [Int32] { try tokenizer.encode(text).map { $0 < 256 ? -1 : $0 } }
    #expect(try ids("a  <l> b") == [-1, 300, -1, -1])
    #expect(try ids("a <r>  b") == [-1, -1, 301, -1])
    #expect(try ids("a<w>") == [-1, -1, -1, -1] && ids("-<w>-") == [-1, 302, -1])
    #expect(try ids("<l><r>") == [303], "the longest of those that begin first")
    #expect(tokenizer.vocabularySize == 304)
    #expect(tokenizer.decode([303, 300], skippingSpecialTokens: true) == "<l>")
  }

  @Test func postProcessorIsReadAndNotApplied() throws {
    let template = #"""
      {"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing",
      "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"</s>","type_id":0}}],
      "special_tokens":{"<s>":{"id":"<s>","ids":[300],"tokens":["<s>"]},"</s>":{"id":"</s>","ids":[301],"tokens":["</s>"]}}}]}
      """#
    let tokenizer = try Self.tokenizer(
      SmallTokenizers.byteLevel(
        added: #"[{"id":300,"content":"<s>"},{"id":301,"content":"</s>"}]"#, postProcessor: template))
    #expect(tokenizer.prefixIDs == [300] && tokenizer.suffixIDs == [301] && tokenizer.beginningOfTextID == 300)
    #expect(try tokenizer.encode("the").count == 1)
  }

  /// U+180E is no white space since Unicode 6.3; PCRE2's own `\s` still matches it.
  @Test func whiteSpaceIsUnicodes() throws {
    let json = SmallTokenizers.byteLevel(
      merges: [],
      preTokenizer: #"""
        {"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\s"},"behavior":"Removed"},
        {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}
        """#)
    let tokenizer = try Self.tokenizer(json)
    #expect(try tokenizer.decode(tokenizer.encode("a\u{180E}b\u{2003}\u{85}\u{B}c")) == "a\u{180E}bc")
  }
}
