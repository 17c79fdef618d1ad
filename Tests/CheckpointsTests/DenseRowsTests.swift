import Checkpoints
import Tensors
import Testing

/// Rows in memory go into a container and come back, however they are shared between threads.
@Suite struct DenseRowsTests {
  /// Tensors as rows x columns: wide rows before narrow ones, rows longer than a chunk, single values, none.
  static let shapes: [[(Int, Int)]] = [
    [(2, 64), (8, 1)], [(1, 100), (50, 1)], [(1, 256), (1, 1), (1, 1)], [(1, 1)], [(0, 7), (3, 5), (0, 1)],
    [(3, 5000), (700, 3), (1, 4097), (64, 64)],
  ]

  @Test(arguments: shapes.indices, [1, 2, 3, 4, 8, 64]) func anyShapesOnAnyThreads(index: Int, threads: Int) throws {
    let scratch = try Scratch()
    let shapes = Self.shapes[index], total = shapes.reduce(0) { $0 + $1.0 * $1.1 }
    let arena = Arena("test")
    var values = Tensor(rows: 1, columns: total, in: arena), read = Tensor(rows: 1, columns: total, in: arena)
    let expected = (0..<total).map { Float($0) * 0.37 - 5 }
    do {
      var span = values.mutableSpan
      for i in 0..<total { span[i] = expected[i] }
    }
    func rows(_ tensor: inout Tensor) -> [DenseRows] {
      let base = unsafe tensor.unsafeMutableAddress()
      var offset = 0
      return shapes.enumerated().map { number, shape in
        defer { offset += shape.0 * shape.1 }
        return unsafe DenseRows(
          "t\(number)", tensorRows: shape.0, columns: shape.1, rows: 0..<shape.0, values: base + offset)
      }
    }
    let options = ContainerOptions(chunkBytes: 4096)
    let writer = try ContainerWriter(directory: scratch("x"), kind: .checkpoint, options: options)
    writer.add(
      try ContainerPartWriter.write(rows(&values), into: writer.temporary, writer: 1, threads: threads, options: options))
    try writer.commit(verifying: true)
    try TensorContainer(scratch("x")).read(rows(&read), threads: threads)
    let span = read.span
    #expect((0..<total).map { span[$0] } == expected)
  }
}
