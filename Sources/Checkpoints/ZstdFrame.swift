import CZstd

/// One independent zstd frame a chunk: content size and checksum always present, raw blocks where compression does not pay.
///
/// Both kinds are ordinary frames (RFC 8878) that `zstd -d` reads.
enum ZstdFrame {
  static let magic: UInt32 = 0xFD2F_B528
  /// Largest raw block of the format.
  static let blockLimit = 1 << 17
  /// Largest content of one chunk that this module writes or accepts.
  static let contentLimit = 64 << 20

  /// Bytes of a raw frame of `content` bytes: header 9, a 3-byte header a block, checksum 4.
  static func rawSize(content: Int) -> Int {
    9 + content + 3 * max(1, (content + blockLimit - 1) / blockLimit) + 4
  }

  /// The most bytes a frame of `content` bytes may take: the bound of libzstd or the raw frame.
  static func sizeLimit(content: Int) -> Int { max(rawSize(content: content), ZSTD_compressBound(content)) + 32 }

  /// Writes a frame of raw blocks: magic, descriptor 0xA4 (single segment, 4-byte content size, checksum), content
  /// size, blocks with headers `size << 3 | last`, low half of XXH64. Returns its length.
  static func encodeRaw(_ content: UnsafeRawBufferPointer, into frame: UnsafeMutableRawBufferPointer) -> Int {
    precondition(content.count > 0 && content.count <= contentLimit && frame.count >= rawSize(content: content.count))
    var position = 0
    func put(_ value: UInt32, bytes: Int) {
      for index in 0..<bytes { unsafe frame[position + index] = UInt8(truncatingIfNeeded: value >> UInt32(8 * index)) }
      position += bytes
    }
    put(magic, bytes: 4)
    put(0xA4, bytes: 1)
    put(UInt32(content.count), bytes: 4)
    var done = 0
    while done < content.count {
      let count = min(blockLimit, content.count - done)
      let last: UInt32 = done + count == content.count ? 1 : 0
      put(UInt32(count) << 3 | last, bytes: 3)
      unsafe UnsafeMutableRawBufferPointer(rebasing: frame[position..<position + count])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: content[done..<done + count]))
      position += count
      done += count
    }
    unsafe put(frameChecksum(content), bytes: 4)
    return position
  }

  static func errorText(_ code: Int) -> String { unsafe String(cString: ZSTD_getErrorName(code)) }
}

/// A reusable compression context: one thread, fixed level, so equal content gives equal bytes for one libzstd.
@safe final class ZstdCompressor {
  private let context: OpaquePointer
  private let output = ScratchBytes(capacity: 1)

  /// Level 3 is enough for weights; levels from 13 on had a rare corruption in libzstd before 1.5.5.
  init(level: Int) {
    precondition((1...12).contains(level), "zstd level \(level)")
    guard let context = unsafe ZSTD_createCCtx() else { fatalError("no memory for a compressor") }
    unsafe self.context = context
    for (parameter, value) in [
      (ZSTD_c_compressionLevel, Int32(level)), (ZSTD_c_checksumFlag, 1), (ZSTD_c_contentSizeFlag, 1),
    ] {
      let code = unsafe ZSTD_CCtx_setParameter(context, parameter, value)
      precondition(ZSTD_isError(code) == 0, "zstd refuses a parameter: \(ZstdFrame.errorText(code))")
    }
  }

  deinit { unsafe _ = ZSTD_freeCCtx(context) }

  /// The frame of `content` (1 byte or more), valid until the next call, and whether it is made of raw blocks: those are
  /// taken when compression saves 2 % or less.
  func frame(_ content: UnsafeRawBufferPointer) -> (bytes: UnsafeRawBufferPointer, isRaw: Bool) {
    let capacity = ZstdFrame.sizeLimit(content: content.count)
    output.reserve(capacity)
    let buffer = unsafe output.prefix(capacity)
    let count = unsafe ZSTD_compress2(context, buffer.baseAddress, buffer.count, content.baseAddress, content.count)
    precondition(ZSTD_isError(count) == 0, "zstd: \(ZstdFrame.errorText(count))")
    if count * 50 <= content.count * 49 { return unsafe (UnsafeRawBufferPointer(output.prefix(count)), false) }
    let rawCount = unsafe ZstdFrame.encodeRaw(content, into: buffer)
    return unsafe (UnsafeRawBufferPointer(output.prefix(rawCount)), true)
  }
}

/// A reusable decompression context.
@safe final class ZstdDecompressor {
  private let context: OpaquePointer

  init() {
    guard let context = unsafe ZSTD_createDCtx() else { fatalError("no memory for a decompressor") }
    unsafe self.context = context
  }

  deinit { unsafe _ = ZSTD_freeDCtx(context) }

  /// Decodes exactly one frame, all of `frame`, into exactly `content.count` bytes. Returns what is wrong, or nil.
  func decode(_ frame: UnsafeRawBufferPointer, into content: UnsafeMutableRawBufferPointer) -> String? {
    let claimed = unsafe ZSTD_getFrameContentSize(frame.baseAddress, frame.count)
    guard claimed == UInt64(content.count) else { return "a frame that does not hold \(content.count) bytes" }
    let length = unsafe ZSTD_findFrameCompressedSize(frame.baseAddress, frame.count)
    guard ZSTD_isError(length) == 0 else { return "a broken frame (\(ZstdFrame.errorText(length)))" }
    guard length == frame.count else { return "a frame of \(length) bytes in \(frame.count)" }
    let count = unsafe ZSTD_decompressDCtx(
      context, content.baseAddress, content.count, frame.baseAddress, frame.count)
    guard ZSTD_isError(count) == 0 else { return "a broken frame (\(ZstdFrame.errorText(count)))" }
    guard count == content.count else { return "\(count) bytes of content" }
    return nil
  }
}
