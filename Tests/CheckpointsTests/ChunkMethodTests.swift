import Checkpoints
import Foundation
import Testing

/// How chunks are stored follows from their content alone, and whatever shrinks is made small.
struct ChunkMethodTests {
  static let columns = 1024, rows = 3000

  private func container(
    _ values: [Float], _ scratch: Scratch, chunkBytes: Int = 1 << 20
  ) throws -> (TensorContainer, StoredTensor) {
    let path = scratch("c\(chunkBytes)")
    let writer = try ContainerWriter(
      directory: path, kind: .checkpoint, options: ContainerOptions(chunkBytes: chunkBytes))
    try writer.addDense(name: "x", shape: [values.count / Self.columns, Self.columns], values: values.span)
    try writer.commit(verifying: true)
    let container = try TensorContainer(path)
    var read = [Float](repeating: -1, count: values.count)
    var span = read.mutableSpan
    try container.readDense("x", into: &span)
    #expect(read.map(\.bitPattern) == values.map(\.bitPattern))
    // From the middle of a chunk into the middle of another.
    let rows = values.count / Self.columns, part = rows / 5..<rows - rows / 7
    var some = [Float](repeating: -1, count: part.count * Self.columns)
    var someSpan = some.mutableSpan
    try container.readDense("x", rows: part, into: &someSpan)
    #expect(some == Array(values[part.lowerBound * Self.columns..<part.upperBound * Self.columns]))
    return (container, try container.requireTensor("x"))
  }

  private func ratios(_ tensor: StoredTensor) -> [Double] {
    tensor.pieces[0].planes.map { Double($0.chunks.reduce(0) { $0 + $1.storedSize }) / Double($0.size) }
  }

  private func isRaw(_ tensor: StoredTensor) -> [Set<Bool>] {
    tensor.pieces[0].planes.map { Set($0.chunks.map(\.isRaw)) }
  }

  @Test func mantissasAreRawAndExponentsAreNot() throws {
    let scratch = try Scratch()
    let values = (0..<Self.rows * Self.columns).map { Float(0.02 * normal($0, 3)) }
    let (container, tensor) = try container(values, scratch)
    #expect(isRaw(tensor) == [[true], [true], [true], [false]])
    let exponents = try container.planeSizes("x")[3]
    #expect(Double(exponents.stored) < 1.03 * exponents.entropy)
  }

  @Test func bfloat16AndZerosTakeNoSpace() throws {
    let scratch = try Scratch()
    let values = (0..<Self.rows * Self.columns).map {
      Float(bitPattern: Float(0.02 * normal($0, 4)).bitPattern & 0xFFFF_0000)
    }
    let (_, tensor) = try container(values, scratch)
    #expect(isRaw(tensor) == [[false], [false], [true], [false]])
    #expect(ratios(tensor)[0] < 0.001 && ratios(tensor)[1] < 0.001)
  }

  /// As moments of embedding rows that few tokens touch.
  @Test(arguments: [0.1, 0.5, 0.9])
  func rowsOfZerosAreFound(share: Double) throws {
    let scratch = try Scratch()
    var values = (0..<Self.rows * Self.columns).map { Float(0.02 * normal($0, 5)) }
    var zeros = 0
    for row in 0..<Self.rows where Double(word(row, seed: 8) % 1000) < 1000 * share {
      zeros += 1
      for column in 0..<Self.columns { values[row * Self.columns + column] = 0 }
    }
    let (_, tensor) = try container(values, scratch)
    let rest = 1 - Double(zeros) / Double(Self.rows)
    #expect(isRaw(tensor) == [[false], [false], [false], [false]])
    for ratio in ratios(tensor).prefix(3) { #expect(ratio < rest + 0.02, "\(share)") }
  }

  @Test func sameContentSameFilesAndChunkSizesDoNotMatter() throws {
    let scratch = try Scratch(), values = weights(300 * Self.columns, seed: 6)
    let (first, _) = try container(values, scratch)
    for size in [1 << 20, 1 << 16, 96] {
      let other = try Scratch()
      let (second, _) = try container(values, other, chunkBytes: size)
      #expect(try first.contentHashes("x") == second.contentHashes("x"))
      if size == 1 << 20 { #expect(first.manifest.files == second.manifest.files) }
    }
  }
}
