import Glibc

/// What a plane of a tensor takes, over all its pieces, and what it could take at least if bytes were coded one by one.
public struct PlaneSizes: Sendable, Hashable {
  public var kind: StoredPlane.Kind
  public var content: Int
  public var stored: Int
  /// Order-0 entropy of the plane's bytes, in bytes: content times the entropy of its histogram. Codes of single bytes
  /// cannot be shorter; a search for repetitions can, where there are any.
  public var entropy: Double
}

extension TensorContainer {
  /// Sizes of each plane of a tensor. Reads all of it.
  public func planeSizes(_ name: String) throws(CheckpointError) -> [PlaneSizes] {
    let tensor = try requireTensor(name)
    var all: [PlaneSizes] = []
    for (index, layout) in StoredPlane.layout(format: tensor.format, shape: tensor.shape).enumerated() {
      var histogram = [Int](repeating: 0, count: 256)
      try unsafe forEachChunk(of: tensor, plane: index, 0..<tensor.shape.rows, rowBytes: layout.rowBytes) {
        (_, bytes) throws(CheckpointError) in
        for unsafe byte in unsafe bytes { histogram[Int(byte)] += 1 }
      }
      let planes = tensor.pieces.map { $0.planes[index] }
      all.append(
        PlaneSizes(
          kind: layout.kind, content: planes.reduce(0) { $0 + $1.size },
          stored: planes.reduce(0) { $0 + $1.chunks.reduce(0) { $0 + $1.storedSize } }, entropy: Self.entropy(histogram)))
    }
    return all
  }

  /// Size of a packed tensor as the other layout would have it: every block's codes with its scale byte behind them, one
  /// stream at zstd's level 3.
  public func interleavedSize(_ name: String) throws(CheckpointError) -> Int {
    let tensor = try requireTensor(name)
    let rows = tensor.shape.rows, columns = tensor.shape.columns, blocks = tensor.blocksPerRow
    var codes = [UInt8](repeating: 0, count: rows * columns), scales = [UInt8](repeating: 0, count: rows * blocks)
    do {
      var codeSpan = codes.mutableSpan
      try readCodes(name, rows: 0..<rows, into: &codeSpan)
      var scaleSpan = scales.mutableSpan
      try readScales(name, rows: 0..<rows, into: &scaleSpan)
    }
    var stream: [UInt8] = []
    stream.reserveCapacity(codes.count + scales.count)
    for row in 0..<rows {
      for block in 0..<blocks {
        let first = block * StoredTensor.blockSize, last = min(first + StoredTensor.blockSize, columns)
        stream += codes[row * columns + first..<row * columns + last]
        stream.append(scales[row * blocks + block])
      }
    }
    let compressor = ZstdCompressor(.level(3)), output = ScratchBytes(capacity: 1)
    return unsafe stream.withUnsafeBytes { unsafe compressor.compress($0, into: output) }
  }

  private static func entropy(_ histogram: [Int]) -> Double {
    let total = Double(histogram.reduce(0, +))
    return histogram.reduce(0) { sum, count in
      count == 0 ? sum : sum - Double(count) * log2(Double(count) / total) / 8
    }
  }
}
