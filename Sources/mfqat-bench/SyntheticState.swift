import Checkpoints
import Tensors

/// What a training checkpoint holds, made up: master weights and both moments of Adam, a third each.
@safe final class SyntheticState {
  let rows: [DenseRows]
  private var memory: [UnsafeMutablePointer<Float>] = unsafe []

  static let columns = 1024
  /// 16 MiB a tensor.
  private static let tensorRows = 4096

  /// Tensors of `bytes` in all, rounded to rows; zeros until `fill`.
  init(bytes: Int) {
    let rowsOfKind = max(1, bytes / 3 / (4 * Self.columns))
    var rows: [DenseRows] = []
    for kind in ["master", "m", "v"] {
      for first in stride(from: 0, to: rowsOfKind, by: Self.tensorRows) {
        let count = min(Self.tensorRows, rowsOfKind - first)
        let values = UnsafeMutablePointer<Float>.allocate(capacity: count * Self.columns)
        unsafe values.initialize(repeating: 0, count: count * Self.columns)
        unsafe memory.append(values)
        rows.append(
          unsafe DenseRows(
            "\(kind)/\(first / Self.tensorRows)", tensorRows: count, columns: Self.columns, rows: 0..<count,
            values: values))
      }
    }
    self.rows = rows
  }

  deinit { for unsafe values in unsafe memory { unsafe values.deallocate() } }

  var byteCount: Int { rows.reduce(0) { $0 + 4 * $1.count } }

  /// Weights of deviation 0.02 times a scale a row, first moments small with the same row scales, second ones their
  /// squares.
  func fill(threads: Int) throws {
    let pieces = unsafe SharedRows(rows: rows, memory: memory)
    try ParallelWork.run(rows.count, threads: threads, worker: {}) { _, index in
      let values = unsafe pieces.memory[index], count = pieces.rows[index].count
      var span = unsafe MutableSpan(_unsafeStart: values, count: count)
      SyntheticValues.rowScales.fill(&span, columns: Self.columns, seed: UInt64(index))
      let kind = pieces.rows[index].name.prefix { $0 != "/" }
      guard kind != "master" else { return }
      let scale = Float(1e-4 / SyntheticValues.deviation)
      for place in 0..<count {
        let moment = span[place] * scale
        span[place] = kind == "m" ? moment : moment * moment + 1e-12
      }
    }
  }

  /// Of tensor `index`, as long as this lives.
  func values(_ index: Int) -> UnsafeBufferPointer<Float> {
    unsafe UnsafeBufferPointer(start: memory[index], count: rows[index].count)
  }

  func clear() {
    for (index, piece) in rows.enumerated() { unsafe memory[index].update(repeating: 0, count: piece.count) }
  }

  /// Whether `other`, of the same size, holds the same bits.
  func equals(_ other: SyntheticState) -> Bool {
    rows.indices.allSatisfy { index in
      unsafe UnsafeRawBufferPointer(start: memory[index], count: 4 * rows[index].count)
        .elementsEqual(UnsafeRawBufferPointer(start: other.memory[index], count: 4 * rows[index].count))
    }
  }

  @safe private struct SharedRows: @unchecked Sendable {
    let rows: [DenseRows]
    let memory: [UnsafeMutablePointer<Float>]
  }
}
