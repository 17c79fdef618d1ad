import Foundation
import TestSupport
import Testing
import Text

/// Tokenizers and token files that claim more than they hold, or never end. Refused, without large allocations; what a
/// pattern costs shows when it meets a text only.
@Suite struct HostileFilesTests {
  private static let limit = 64 << 20

  private func expectRefusal(
    _ json: String, _ kind: TextError.Kind, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let bytes = Array(json.utf8)
    let largest = AllocationCounter.largest {
      let error = #expect(throws: TextError.self, sourceLocation: sourceLocation) {
        try Tokenizer(json: bytes, source: "hostile")
      }
      #expect(error?.kind == kind, "\(error?.description ?? "")", sourceLocation: sourceLocation)
    }
    #expect(largest < Self.limit, "\(largest) bytes at once", sourceLocation: sourceLocation)
  }

  private func chain(_ members: String, _ stage: String, _ count: Int) -> String {
    #"{"type":"Sequence","\#(members)":[\#(Array(repeating: stage, count: count).joined(separator: ","))]}"#
  }

  /// Each stage is a call inside the one before.
  @Test func longChainsAreRefused() throws {
    let digits = #"{"type":"Digits","individual_digits":true}"#
    let fuse = #"{"type":"Fuse"}"#, strip = #"{"type":"Strip"}"#
    expectRefusal(
      SmallTokenizers.characters(["a"], preTokenizer: chain("pretokenizers", digits, 100_000)), .unsupported)
    expectRefusal(
      SmallTokenizers.characters(["a"], decoder: chain("decoders", fuse, 100_000)), .unsupported)
    expectRefusal(
      SmallTokenizers.characters(["a"], normalizer: chain("normalizers", strip, 100_000)), .unsupported)
  }

  /// Ten replacements by sixty-four make 2^60 of one.
  @Test func replacementsThatExplodeAreRefused() {
    let many = String(repeating: "a", count: 64)
    let literal = #"{"type":"Replace","pattern":{"String":"a"},"content":"\#(many)"}"#
    let empty = #"{"type":"Replace","pattern":{"Regex":"x*"},"content":"\#(many)"}"#
    for stage in [literal, empty] {
      expectRefusal(
        SmallTokenizers.characters(["a"], normalizer: chain("normalizers", stage, 10)), .unsupported)
    }
    expectRefusal(SmallTokenizers.characters(["a"], decoder: chain("decoders", literal, 10)), .unsupported)
  }

  @Test func stagesThatNeverEndAreRefused() throws {
    expectRefusal(
      SmallTokenizers.characters(["a"], decoder: #"{"type":"Metaspace","replacement":""}"#), .malformed)
    // Strips what is there and stops.
    let strip = #"{"type":"Strip","content":" ","start":9223372036854775807,"stop":9223372036854775807}"#
    let json = SmallTokenizers.characters(["a"], decoder: strip)
    let tokenizer = try Tokenizer(json: Array(json.utf8), source: "hostile")
    #expect(tokenizer.decode([1, 1]) == "aa")
  }

  /// 2^n ways to cut a run of n, and ten nested loops over it. The b at the end of the text is for PCRE2, which looks
  /// for one before it begins.
  @Test(arguments: ["(?:a+)+b", "(?:a|a)+b", "a*a*a*a*a*a*a*a*a*a*b"])
  func patternsThatBacktrackWithoutEndAreRefused(_ pattern: String) throws {
    let stage = #"{"type":"Split","pattern":{"Regex":"\#(pattern)"},"behavior":"Isolated"}"#
    let json = SmallTokenizers.characters(["a"], preTokenizer: stage)
    let tokenizer = try Tokenizer(json: Array(json.utf8), source: "hostile")
    #expect(try tokenizer.encode("aa") == [1, 1])
    let error = #expect(throws: TextError.self) { try tokenizer.encode(String(repeating: "a", count: 200) + "cb") }
    #expect(error?.kind == .unsupported && error?.found.contains(pattern) == true)
  }

  @Test func idsAreBounded() {
    for id in ["2097153", "4294967296", "9223372036854775807", "-1", "1e3"] {
      expectRefusal(#"{"model":{"type":"BPE","unk_token":"a","vocab":{"a":\#(id)},"merges":[]}}"#, .malformed)
    }
    for id in [-1, 1 << 32, 7] {
      let around = #"{"type":"BertProcessing","cls":["<s>",\#(id)],"sep":["<s>",0]}"#
      let json = #"{"post_processor":\#(around),"model":{"type":"BPE","unk_token":"a","vocab":{"a":0},"merges":[]}}"#
      expectRefusal(json, .inconsistent)
    }
  }

  @Test func deepTextIsRefused() {
    for opening in ["[", #"{"a":"#, #"{"model":["#] {
      expectRefusal(String(repeating: opening, count: 1_000_000), .malformed)
    }
  }

  /// A sparse file is larger than memory and costs nothing; a pipe never ends.
  @Test func filesThatAreNoFilesAreRefused() throws {
    let folder = try TokenFileTests.Folder()
    let path = try folder.write("tokenizer.json", Array("{}".utf8))
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    try file.truncate(atOffset: 1 << 40)
    try file.close()
    for path in [path, "/dev/zero"] {
      let largest = AllocationCounter.largest {
        let error = #expect(throws: TextError.self) { try Tokenizer(contentsOf: path) }
        #expect(error?.expected.contains("at most") == true)
      }
      #expect(largest < Self.limit)
      #expect(throws: TextError.self) { try TokenFile(path) }
    }
  }

  /// Headers whose checksum is right.
  @Test(arguments: [
    (16, UInt64(1) << 60), (16, .max), (16, 2), (16, (1 << 63) - 64), (24, 1 << 31), (24, .max), (12, 1), (12, 8),
  ])
  func tokenFilesThatClaimTooMuch(_ offset: Int, _ value: UInt64) throws {
    let folder = try TokenFileTests.Folder()
    let path = folder.path("tokens.bin")
    try TokenFile.write(
      [1, 2, 3], vocabularySize: 4, tokenizerHash: TokenFileTests.hash, textHash: TokenFileTests.hash, to: path)
    var bytes = try TokenFileTests.bytes(path)
    for byte in 0..<(offset == 12 ? 4 : 8) {
      bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(byte)))
    }
    let checksum = ContentHash.narrow(bytes.span.extracting(0..<120))
    for byte in 0..<8 { bytes[120 + byte] = UInt8(truncatingIfNeeded: checksum >> (8 * UInt64(byte))) }
    let damaged = try folder.write("damaged.bin", bytes)
    let largest = AllocationCounter.largest {
      let error = #expect(throws: TextError.self) { try TokenFile(damaged) }
      #expect(error?.kind == .malformed)
    }
    #expect(largest < 1 << 20)
  }
}
