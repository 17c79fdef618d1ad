import Foundation
import Testing
import Text

@Suite struct TextSourceTests {
  typealias Folder = TokenFileTests.Folder

  @Test func plainFilesAreConcatenatedAsTheyAre() throws {
    let folder = try Folder()
    let first = try folder.write("a.txt", Array("no newline".utf8)), second = try folder.write("b", Array("é\n".utf8))
    #expect(try TextSource.load([first, second]).text == "no newlineé\n")
    #expect(try TextSource.load([second, first]).text == "é\nno newline")
    #expect(try TextSource.load([]).utf8.isEmpty)
  }

  @Test func recordsOfJSON() throws {
    let folder = try Folder()
    let lines = try folder.write(
      "a.jsonl",
      Array(
        #"""
        {"text": "one\n", "id": 1}

        {"messages": [{"role": "user", "content": "hi 😀"}, {"role": "assistant", "content": [{"type": "text", "text": "yes\u0000\ud83d\ude00"}]}]}
        """#.utf8))
    #expect(try TextSource.load([lines]).text == "one\nhi 😀\nyes\0😀\n")
    let array = try folder.write("b.json", Array(#"["a", "b\n", {"text": "\/\"\\\b\f\t\r\u00e9"}]"#.utf8))
    #expect(try TextSource.load([array]).text == "a\nb\n/\"\\\u{8}\u{c}\t\ré\n")
  }

  @Test func hashIsOfTheWholeText() throws {
    // XXH3-128 of no bytes, from xxHash's own test vectors.
    #expect(TextSource("").contentHash == "99aa06d3014798d86001c324468d497f")
    #expect(TextSource("a").contentHash != TextSource("b").contentHash)
  }

  @Test(arguments: [
    ([0x61, 0x62, 0xFF], 2), ([0xC3], 0), ([0x61, 0xC3, 0x28], 1), ([0xED, 0xA0, 0x80], 0), ([0xC0, 0xAF], 0),
    ([0xF4, 0x90, 0x80, 0x80], 0), ([0xF0, 0x9F, 0x98, 0x80, 0xE2, 0x82], 4), ([0xE0, 0x80, 0x80], 0),
  ] as [([UInt8], Int)])
  func invalidBytesAreRefusedByOffset(_ bytes: [UInt8], _ offset: Int) throws {
    let folder = try Folder()
    let good = try folder.write("good.txt", Array("fine".utf8))
    for name in ["bad.txt", "bad.jsonl", "bad.json"] {
      let bad = try folder.write(name, bytes)
      let error = try #require(throws: TextError.self) { try TextSource.load([good, bad]) }
      #expect(error.path == bad && error.found.contains("byte \(offset) "), "\(error)")
    }
  }

  @Test(arguments: [
    ("a.jsonl", #"{"text": 3}"#), ("a.jsonl", #"{"title": "x"}"#), ("a.jsonl", "plain"), ("a.json", #"{"text": "x"}"#),
    ("a.json", #"["x", 3]"#), ("a.json", #"["\ud800"]"#), ("a.json", #"["\udc00\ud800"]"#), ("a.json", #"["x"] y"#),
    ("a.json", #"["x",]"#), ("a.json", "[\"a\nb\"]"), ("a.json", #"[01]"#), ("a.json", #"[+1]"#), ("a.json", #"["x"#),
    ("a.jsonl", #"{"messages": [{"role": "user"}]}"#), ("a.json", String(repeating: "[", count: 1000)),
  ])
  func recordsThatAreNoTextAreRefused(_ name: String, _ content: String) throws {
    let folder = try Folder()
    let path = try folder.write(name, Array(content.utf8))
    let error = try #require(throws: TextError.self) { try TextSource.load([path]) }
    #expect(error.kind == .malformed && error.path == path)
  }

  @Test func absentFilesAndFoldersAreNamed() throws {
    let folder = try Folder()
    for path in [folder.path("absent.txt"), folder.url.path] {
      let error = try #require(throws: TextError.self) { try TextSource.load([path]) }
      #expect(error.kind == .system && error.path == path)
    }
  }

  /// Against the standard library on every sequence of up to three bytes from the critical ones.
  @Test func scannerAgreesWithTheStandardLibrary() {
    let critical: [UInt8] = [
      0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF,
    ]
    for a in critical {
      for b in critical {
        for c in critical {
          let bytes = [a, b, c]
          #expect((UTF8Scanner.firstInvalidOffset(bytes.span) == nil) == (String(validating: bytes, as: UTF8.self) != nil))
        }
      }
    }
  }
}
