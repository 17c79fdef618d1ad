/// A zstd frame of raw blocks around content that stays where it is: what lies before each block and after the last.
///
/// Magic, descriptor 0xA4 (single segment, 4-byte content size, checksum), content size, blocks with 3-byte headers
/// `size << 3 | last`, low half of XXH64 of the content. All little-endian.
struct RawFrame {
  /// Bytes before the first block's header, of a block's header, and after the last block.
  private static let headerSize = 9, blockHeaderSize = 3
  static let checksumSize = 4
  /// Largest block of the format.
  static let blockLimit = 1 << 17

  let contentSize: Int
  /// Frame header, block headers and checksum, one after the other.
  private(set) var marks: [UInt8]

  var blocks: Int { Self.blocks(contentSize) }
  var size: Int { contentSize + marks.count }

  private static func blocks(_ content: Int) -> Int { max(1, (content + blockLimit - 1) / blockLimit) }

  /// Length of the frame of `content` bytes.
  static func size(content: Int) -> Int { headerSize + content + blockHeaderSize * blocks(content) + checksumSize }

  init(contentSize: Int, checksum: UInt32) {
    precondition(contentSize > 0 && contentSize <= ZstdFrame.contentLimit, "a frame of \(contentSize) bytes")
    self.contentSize = contentSize
    var marks: [UInt8] = []
    func put(_ value: UInt32, bytes: Int) {
      for index in 0..<bytes { marks.append(UInt8(truncatingIfNeeded: value >> UInt32(8 * index))) }
    }
    put(ZstdFrame.magic, bytes: 4)
    put(0xA4, bytes: 1)
    put(UInt32(contentSize), bytes: 4)
    for start in stride(from: 0, to: contentSize, by: Self.blockLimit) {
      let count = min(Self.blockLimit, contentSize - start)
      put(UInt32(count) << 3 | (start + count == contentSize ? 1 : 0), bytes: Self.blockHeaderSize)
    }
    put(checksum, bytes: Self.checksumSize)
    self.marks = marks
  }

  /// The ranges of the frame in order: those of `marks` before each block, each block's of the content, and the checksum.
  var parts: [(isContent: Bool, range: Range<Int>)] {
    var parts: [(isContent: Bool, range: Range<Int>)] = []
    var mark = 0, start = 0
    while start < contentSize {
      let markEnd = mark + Self.blockHeaderSize + (start == 0 ? Self.headerSize : 0)
      let end = min(start + Self.blockLimit, contentSize)
      parts.append((false, mark..<markEnd))
      parts.append((true, start..<end))
      (mark, start) = (markEnd, end)
    }
    parts.append((false, mark..<mark + Self.checksumSize))
    return parts
  }

  /// The frame's bytes, of `content` and of `marks`, in order.
  func pieces(
    _ content: UnsafeRawBufferPointer, _ marks: UnsafeRawBufferPointer
  ) -> [UnsafeRawBufferPointer] {
    unsafe parts.map { part in
      unsafe UnsafeRawBufferPointer(rebasing: part.isContent ? content[part.range] : marks[part.range])
    }
  }
}
