/// Chooses from a chunk's content alone how it is stored, by trying every method on samples of it: most chunks are
/// mantissas, which nothing shrinks and which should not cost a search, or exponents and codes, which Huffman codes
/// shrink as far as zstd can, several times faster than its search for matches.
///
/// Memory: one compressed chunk and the contexts of libzstd.
package final class ChunkCompressor {
  private let methods: [ZstdCompressor]
  private let samples = ScratchBytes(capacity: 1)
  private let output = ScratchBytes(capacity: 1)

  /// `level` is that of libzstd's own search, which is one of the methods.
  package init(level: Int) {
    precondition((1...12).contains(level), "zstd level \(level)")
    methods = [ZstdCompressor.Method.bytes, .runs, .level(level)].map(ZstdCompressor.init)
  }

  /// The compressed frame of `content` (1 byte or more), valid until the next call; nil where raw blocks should hold it,
  /// since compression saves 2 % or less.
  package func compress(_ content: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    let sample = unsafe sampled(content)
    var best: (method: Int, size: Int)?
    for (index, method) in methods.enumerated() {
      let size = unsafe method.compress(sample, into: output)
      // A method must gain on the ones before it, too, which are faster to read and write.
      if Self.pays(size, insteadOf: best?.size ?? sample.count) { best = (index, size) }
    }
    guard let best else { return nil }
    let size = unsafe methods[best.method].compress(content, into: output)
    return Self.pays(size, insteadOf: content.count) ? unsafe UnsafeRawBufferPointer(output.prefix(size)) : nil
  }

  private static func pays(_ size: Int, insteadOf other: Int) -> Bool { size * 50 <= other * 49 }

  /// Content up to this size is its own sample.
  private static let wholeLimit = 1 << 16
  /// Length of one of the pieces a sample consists of. One row of zeros among many should be met by some of them.
  private static let pieceSize = 128
  /// At least as many of them, and one of 65 of the content: no power of two, which could meet the same columns always.
  private static let pieceCount = 128, step = 65

  private func sampled(_ content: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    if content.count <= Self.wholeLimit { return unsafe content }
    let stride = min(Self.pieceSize * Self.step, content.count / Self.pieceCount)
    let count = (content.count - Self.pieceSize) / stride + 1
    samples.reserve(count * Self.pieceSize)
    for piece in 0..<count {
      unsafe samples[piece * Self.pieceSize..<(piece + 1) * Self.pieceSize].copyMemory(
        from: UnsafeRawBufferPointer(rebasing: content[piece * stride..<piece * stride + Self.pieceSize]))
    }
    return unsafe UnsafeRawBufferPointer(samples.prefix(count * Self.pieceSize))
  }
}
