import Foundation
import Testing
import Text

@Suite struct TokenFileTests {
  static let hash = String(repeating: "0123456789abcdef", count: 2)

  /// A folder of its own for each test, removed at the end.
  final class Folder {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("mfqat-text-\(UUID().uuidString)")
    init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(at: url) }
    func path(_ name: String) -> String { url.appendingPathComponent(name).path }
    func write(_ name: String, _ bytes: [UInt8]) throws -> String {
      try Data(bytes).write(to: url.appendingPathComponent(name))
      return path(name)
    }
  }

  static func bytes(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }

  @Test(arguments: [(300, 2), (65_536, 2), (65_537, 4), (152_000, 4)])
  func roundTrip(_ vocabularySize: Int, _ width: Int) throws {
    let folder = try Folder()
    let path = folder.path("tokens.bin")
    for count in [0, 1, 2, 7, 700_001] {
      let ids = (0..<count).map { Int32(($0 &* 2_654_435_761) % vocabularySize) }
      try TokenFile.write(ids, vocabularySize: vocabularySize, tokenizerHash: Self.hash, textHash: Self.hash, to: path)
      let file = try TokenFile(path)
      #expect(file.count == count && file.width == width && file.vocabularySize == vocabularySize)
      #expect(file.tokenizerHash == Self.hash && file.textHash == Self.hash)
      let isEqual = ids.indices.allSatisfy { file[$0] == ids[$0] }
      #expect(isEqual)
      try file.verify()
      #expect(try Self.bytes(path).count == 128 + width * count)
    }
    // Nothing temporary is left behind.
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["tokens.bin"])
  }

  @Test func everyTruncationIsRefused() throws {
    let folder = try Folder()
    let path = folder.path("tokens.bin")
    try TokenFile.write(
      [1, 2, 3], vocabularySize: 4, tokenizerHash: Self.hash, textHash: Self.hash, to: path)
    let whole = try Self.bytes(path)
    for length in 0..<whole.count {
      let cut = try folder.write("cut.bin", Array(whole[..<length]))
      let error = try #require(throws: TextError.self) { try TokenFile(cut) }
      #expect(error.kind == .malformed && error.path == cut)
    }
    let longer = try folder.write("longer.bin", whole + [0])
    #expect(throws: TextError.self) { try TokenFile(longer) }
    #expect(throws: TextError.self) { try TokenFile(folder.path("absent.bin")) }
  }

  /// A flip in the header is refused when the file is opened, one in the tokens by `verify`.
  @Test func everyFlippedBitIsRefused() throws {
    let folder = try Folder()
    let path = folder.path("tokens.bin")
    try TokenFile.write(
      [1, 2, 3], vocabularySize: 4, tokenizerHash: Self.hash, textHash: Self.hash, to: path)
    let whole = try Self.bytes(path)
    for bit in 0..<(8 * whole.count) {
      var flipped = whole
      flipped[bit / 8] ^= 1 << (bit % 8)
      let damaged = try folder.write("damaged.bin", flipped)
      if bit < 8 * 128 {
        #expect(throws: TextError.self, "bit \(bit)") { try TokenFile(damaged) }
      } else {
        let file = try TokenFile(damaged)
        let error = try #require(throws: TextError.self, "bit \(bit)") { try file.verify() }
        #expect(error.kind == .inconsistent)
      }
    }
  }

  /// A writer that cannot finish leaves neither the file nor its temporary one.
  @Test func failedWriteLeavesTheOldFile() throws {
    let folder = try Folder()
    let error = try #require(throws: TextError.self) {
      try TokenFile.write(
        [1], vocabularySize: 4, tokenizerHash: Self.hash, textHash: Self.hash, to: folder.path("no/such/tokens.bin"))
    }
    #expect(error.kind == .system)
    try FileManager.default.createDirectory(atPath: folder.path("taken"), withIntermediateDirectories: false)
    #expect(throws: TextError.self) {
      try TokenFile.write([1], vocabularySize: 4, tokenizerHash: Self.hash, textHash: Self.hash, to: folder.path("taken"))
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["taken"])
  }

  /// Files are one stream: tokens may span their borders.
  @Test func severalFilesAreOneStream() throws {
    let folder = try Folder()
    let tokenizer = try Tokenizer(json: Array(SmallTokenizers.byteLevel().utf8), source: "small")
    let text = "the hound, the héund\nthe"
    let bytes = Array(text.utf8)
    let whole = try tokenizer.encode(text)
    for border in [0, 2, 5, 9, bytes.count] {
      let first = try folder.write("a.txt", Array(bytes[..<border])), second = try folder.write("b.txt", Array(bytes[border...]))
      let source = try TextSource.load([first, second])
      #expect(source.text == text && source.contentHash == TextSource(text).contentHash)
      let path = folder.path("tokens.bin")
      let count = try TokenFile.write(source, with: tokenizer, to: path)
      let file = try TokenFile(path)
      #expect(count == whole.count && (0..<count).map { file[$0] } == whole)
      #expect(file.tokenizerHash == tokenizer.contentHash && file.textHash == source.contentHash)
    }
  }
}
