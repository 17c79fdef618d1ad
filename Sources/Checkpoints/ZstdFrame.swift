import CZstd

/// One independent zstd frame a chunk: content size and checksum always present, raw blocks where compression does not
/// pay.
///
/// Both kinds are ordinary frames (RFC 8878) that `zstd -d` reads.
enum ZstdFrame {
  static let magic: UInt32 = 0xFD2F_B528
  /// Largest content of one chunk that this module writes or accepts.
  static let contentLimit = 64 << 20

  /// The most bytes a frame of `content` bytes may take: the bound of libzstd or the raw frame.
  static func sizeLimit(content: Int) -> Int { max(RawFrame.size(content: content), ZSTD_compressBound(content)) + 32 }

  static func errorText(_ code: Int) -> String { unsafe String(cString: ZSTD_getErrorName(code)) }
}

/// A reusable compression context: one thread, fixed parameters, so equal content gives equal bytes for one libzstd.
@safe final class ZstdCompressor {
  /// How a frame is made small.
  enum Method: Equatable {
    /// Huffman codes of single bytes, no search for matches: what weights, scales and exponents need.
    case bytes
    /// Matches of 7 bytes and more, found with few looks: for runs and repeated rows among bytes as above.
    case runs
    /// libzstd's own choice at a level from 1 to 12. Higher ones had a rare corruption before 1.5.5.
    case level(Int)

    fileprivate var parameters: [(ZSTD_cParameter, Int32)] {
      // The name of parameter 5, literalCompressionMode, is for static linking; value 1 asks for Huffman codes, which
      // negative levels leave out otherwise.
      switch self {
      // A negative level is how many bytes the search skips: here a whole block.
      case .bytes:
        [(ZSTD_c_compressionLevel, -Int32(RawFrame.blockLimit)), (ZSTD_c_experimentalParam5, 1)]
      case .runs: [(ZSTD_c_compressionLevel, -50), (ZSTD_c_minMatch, 7), (ZSTD_c_experimentalParam5, 1)]
      case .level(let level): [(ZSTD_c_compressionLevel, Int32(level))]
      }
    }
  }

  private let context: OpaquePointer

  init(_ method: Method) {
    guard let context = unsafe ZSTD_createCCtx() else { fatalError("no memory for a compressor") }
    unsafe self.context = context
    for (parameter, value) in method.parameters + [(ZSTD_c_checksumFlag, 1), (ZSTD_c_contentSizeFlag, 1)] {
      let code = unsafe ZSTD_CCtx_setParameter(context, parameter, value)
      precondition(ZSTD_isError(code) == 0, "zstd refuses a parameter: \(ZstdFrame.errorText(code))")
    }
  }

  deinit { unsafe _ = ZSTD_freeCCtx(context) }

  /// Writes the frame of `content` (1 byte or more) into `output`, which is made large enough. Returns its length.
  func compress(_ content: UnsafeRawBufferPointer, into output: ScratchBytes) -> Int {
    let capacity = ZstdFrame.sizeLimit(content: content.count)
    output.reserve(capacity)
    let buffer = unsafe output.prefix(capacity)
    let count = unsafe ZSTD_compress2(context, buffer.baseAddress, buffer.count, content.baseAddress, content.count)
    precondition(ZSTD_isError(count) == 0, "zstd: \(ZstdFrame.errorText(count))")
    return count
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
