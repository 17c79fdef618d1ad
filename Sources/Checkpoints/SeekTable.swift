/// The table at the end of a data file, in the zstd seekable format 0.1.0: a skippable frame that plain decoders ignore.
///
/// u32 0x184D2A5E, u32 size of the rest; per frame u32 compressed size, u32 content size, u32 low half of XXH64 of the
/// content; footer u32 frames, u8 0x80 (checksums present), u32 0x8F92EAB1. All little-endian.
public struct SeekTable: Sendable, Hashable {
  public struct Entry: Sendable, Hashable {
    public var storedSize: UInt32
    public var contentSize: UInt32
    public var checksum: UInt32

    public init(storedSize: UInt32, contentSize: UInt32, checksum: UInt32) {
      self.storedSize = storedSize
      self.contentSize = contentSize
      self.checksum = checksum
    }
  }

  public var entries: [Entry]

  public init(_ entries: [Entry] = []) { self.entries = entries }

  static let skippableMagic: UInt32 = 0x184D_2A5E
  static let footerMagic: UInt32 = 0x8F92_EAB1
  /// Keeps the skippable frame's size in its u32 with room to spare.
  static let entryLimit = 1 << 24

  static func byteCount(entries: Int) -> Int { 8 + 12 * entries + 9 }

  public var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.byteCount(entries: entries.count))
    func put(_ value: UInt32) {
      for shift in [0, 8, 16, 24] as [UInt32] { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }
    put(Self.skippableMagic)
    put(UInt32(12 * entries.count + 9))
    for entry in entries {
      put(entry.storedSize)
      put(entry.contentSize)
      put(entry.checksum)
    }
    put(UInt32(entries.count))
    bytes.append(0x80)
    put(Self.footerMagic)
    return bytes
  }

  /// Reads the table of the file at `path`; its sizes must add up to the file.
  public init(path: String) throws(CheckpointError) { try self.init(ReadableFile(path)) }

  init(_ file: ReadableFile) throws(CheckpointError) {
    func refuse(_ expected: String, _ found: String, at offset: Int) -> CheckpointError {
      CheckpointError("read the seek table of", path: file.path, offset: offset, expected: expected, found: found)
    }
    guard file.size >= Self.byteCount(entries: 0) else {
      throw refuse("at least \(Self.byteCount(entries: 0)) bytes", "\(file.size)", at: 0)
    }
    func word(_ bytes: [UInt8], _ at: Int) -> UInt32 {
      (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) }
    }
    let footerStart = file.size - 9
    let footer = try file.bytes(footerStart..<file.size)
    guard word(footer, 5) == Self.footerMagic, footer[4] == 0x80 else {
      throw refuse("a seek table with checksums at the end", "other bytes", at: footerStart)
    }
    let count = Int(word(footer, 0))
    guard count <= Self.entryLimit, Self.byteCount(entries: count) <= file.size else {
      throw refuse("a table within the file", "\(count) frames", at: footerStart)
    }
    let start = file.size - Self.byteCount(entries: count)
    let table = try file.bytes(start..<footerStart)
    guard word(table, 0) == Self.skippableMagic, word(table, 4) == UInt32(12 * count + 9) else {
      throw refuse("a skippable frame of \(12 * count + 9) bytes", "other bytes", at: start)
    }
    entries = (0..<count).map { index in
      Entry(
        storedSize: word(table, 8 + 12 * index), contentSize: word(table, 12 + 12 * index),
        checksum: word(table, 16 + 12 * index))
    }
    let total = entries.reduce(0) { $0 + Int($1.storedSize) }
    guard total == start else { throw refuse("frames of \(start) bytes", "\(total)", at: start) }
  }
}
