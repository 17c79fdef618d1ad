import Testing
import Text

/// Pieces of the pre-tokenizers of well-known models; expected values from `pre_tokenize_str` of `tokenizers` 0.23.3.
@Suite struct PreTokenizerTests {
  static let stages = [
    "gpt2":
      #"{"type":"ByteLevel","add_prefix_space":false}"#,
    "llama3":
      #"{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}"#,
    "qwen2":
      #"{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}"#,
    "gpt4o":
      #"{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Removed","invert":true},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}"#,
    "deepseek":
      #"{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[\\r\\n]"},"behavior":"Isolated","invert":false},{"type":"Split","pattern":{"Regex":"\\s?\\p{L}+"},"behavior":"Isolated","invert":false},{"type":"Split","pattern":{"Regex":"\\s?\\p{P}+"},"behavior":"Isolated","invert":false},{"type":"Split","pattern":{"Regex":"[一-龥ࠀ-一가-퟿]+"},"behavior":"Isolated","invert":false},{"type":"Digits","individual_digits":true},{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]}"#,
    "digits":
      #"{"type":"Sequence","pretokenizers":[{"type":"Digits"},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}"#,
  ]

  static let texts = [
    "I'LL say: don't, it's 12345 o'clock!",
    "  two\u{A}\u{A}  lines\u{D}\u{A}\u{9}end  ",
    "Ünïcode \u{4F60}\u{597D}\u{FF0C}\u{4E16}\u{754C} 3½ \u{2167}",
    "a\u{180E}b\u{2003}c\u{A0}d\u{85}",
    "camelCase HTTPServer e\u{301}tude \u{1F44D}\u{1F3FD}!",
  ]

  @Test(arguments: [
    ("gpt2", [
      ["I", "'", "LL", " say", ":", " don", "'t", ",", " it", "'s", " 12345", " o", "'", "clock", "!"],
      [" ", " two", "\u{A}\u{A} ", " lines", "\u{D}\u{A}", "\u{9}", "end", "  "],
      ["Ünïcode", " \u{4F60}\u{597D}", "\u{FF0C}", "\u{4E16}\u{754C}", " 3½", " \u{2167}"],
      ["a", "\u{180E}", "b", "\u{2003}", "c", "\u{A0}", "d", "\u{85}"],
      ["camelCase", " HTTPServer", " e", "\u{301}", "tude", " \u{1F44D}\u{1F3FD}!"],
    ]),
    ("llama3", [
      ["I", "'LL", " say", ":", " don", "'t", ",", " it", "'s", " ", "123", "45", " o", "'clock", "!"],
      [" ", " two", "\u{A}\u{A}", " ", " lines", "\u{D}\u{A}", "\u{9}end", "  "],
      ["Ünïcode", " \u{4F60}\u{597D}", "\u{FF0C}\u{4E16}\u{754C}", " ", "3½", " ", "\u{2167}"],
      ["a", "\u{180E}b", "\u{2003}c", "\u{A0}d", "\u{85}"],
      ["camelCase", " HTTPServer", " e", "\u{301}tude", " \u{1F44D}\u{1F3FD}!"],
    ]),
    ("qwen2", [
      ["I", "'LL", " say", ":", " don", "'t", ",", " it", "'s", " ", "1", "2", "3", "4", "5", " o", "'clock", "!"],
      [" ", " two", "\u{A}\u{A}", " ", " lines", "\u{D}\u{A}", "\u{9}end", "  "],
      ["Ünïcode", " \u{4F60}\u{597D}", "\u{FF0C}\u{4E16}\u{754C}", " ", "3", "½", " ", "\u{2167}"],
      ["a", "\u{180E}b", "\u{2003}c", "\u{A0}d", "\u{85}"],
      ["camelCase", " HTTPServer", " e", "\u{301}tude", " \u{1F44D}\u{1F3FD}!"],
    ]),
    ("gpt4o", [
      ["I'LL", " say", ":", " don't", ",", " it's", " ", "123", "45", " o", "'clock", "!"],
      [" ", " two", "\u{A}\u{A}", " ", " lines", "\u{D}\u{A}", "\u{9}end", "  "],
      ["Ünïcode", " \u{4F60}\u{597D}", "\u{FF0C}\u{4E16}\u{754C}", " ", "3½", " ", "\u{2167}"],
      ["a", "\u{180E}b", "\u{2003}c", "\u{A0}d", "\u{85}"],
      ["camel", "Case", " HTTPServer", " e\u{301}tude", " \u{1F44D}\u{1F3FD}!"],
    ]),
    ("deepseek", [
      ["I", "'", "LL", " say", ":", " don", "'", "t", ",", " it", "'", "s", " ", "1", "2", "3", "4", "5", " o", "'", "clock", "!"],
      [" ", " two", "\u{A}", "\u{A}", " ", " lines", "\u{D}", "\u{A}", "\u{9}", "end", "  "],
      ["Ünïcode", " ", "\u{4F60}\u{597D}", "\u{FF0C}", "\u{4E16}\u{754C}", " ", "3", "½", " ", "\u{2167}"],
      ["a", "\u{180E}", "b", "\u{2003}", "c", "\u{A0}", "d", "\u{85}"],
      ["camelCase", " HTTPServer", " e", "\u{301}", "tude", " \u{1F44D}\u{1F3FD}", "!"],
    ]),
    ("digits", [
      ["I'LL say: don't, it's ", "12345", " o'clock!"],
      ["  two\u{A}\u{A}  lines\u{D}\u{A}\u{9}end  "],
      ["Ünïcode \u{4F60}\u{597D}\u{FF0C}\u{4E16}\u{754C} ", "3½", " ", "\u{2167}"],
      ["a\u{180E}b\u{2003}c\u{A0}d\u{85}"],
      ["camelCase HTTPServer e\u{301}tude \u{1F44D}\u{1F3FD}!"],
    ]),
  ] as [(String, [[String]])])
  func piecesOfKnownPatterns(_ name: String, _ expected: [[String]]) throws {
    let json = SmallTokenizers.byteLevel(preTokenizer: Self.stages[name]!)
    let tokenizer = try Tokenizer(json: Array(json.utf8), source: name)
    for (text, pieces) in zip(Self.texts, expected) {
      #expect(tokenizer.pieces(of: text) == pieces.map { Array($0.utf8) }, "\(name): \(text.debugDescription)")
    }
  }

  /// Runs far longer than the just-in-time compiler's stack allows to backtrack over.
  @Test(arguments: [" ", "a", "\n", " \n", "1", "!", "é", "'s", "你"])
  func longRunsComeBackWhole(_ unit: String) throws {
    let text = String(repeating: unit, count: 200_000) + "x"
    for (name, stage) in Self.stages {
      let tokenizer = try Tokenizer(json: Array(SmallTokenizers.byteLevel(preTokenizer: stage).utf8), source: name)
      let isRestored = tokenizer.decode(try tokenizer.encode(text)) == text
      #expect(isRestored, "\(name)")
    }
  }
}
