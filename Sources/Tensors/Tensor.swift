/// A dense row-major matrix of fp32: a lease of arena memory with one owner.
///
/// Operations take the output `inout` and the inputs `borrowing`, so the compiler's exclusivity *is* the no-alias
/// contract of the kernels. A lease made with `rows(_:)` or `region(_:rows:columns:)` is a second name for the same
/// memory; it exists for parameter layouts and row chunks, and whoever makes one answers for not writing both at once.
@safe public struct Tensor: ~Copyable {
  public let rows: Int
  public let columns: Int
  private let base: UnsafeMutablePointer<Float>
  private let arena: Arena

  /// A zeroed matrix.
  public init(rows: Int, columns: Int, in arena: Arena) {
    precondition(rows >= 0 && columns >= 0, "tensor of \(rows) x \(columns)")
    self.rows = rows
    self.columns = columns
    self.arena = arena
    unsafe base = arena.lease(byteCount: rows * columns * MemoryLayout<Float>.stride)
      .bindMemory(to: Float.self, capacity: rows * columns)
  }

  init(rows: Int, columns: Int, base: UnsafeMutablePointer<Float>, arena: Arena) {
    self.rows = rows
    self.columns = columns
    unsafe self.base = base
    self.arena = arena
  }

  public var count: Int { rows * columns }

  /// The same memory under a second name: `rows` x `columns` elements from element `offset` on.
  public borrowing func region(_ offset: Int, rows: Int, columns: Int) -> Tensor {
    precondition(offset >= 0 && rows >= 0 && columns >= 0 && offset + rows * columns <= count,
      "region of \(rows) x \(columns) at \(offset) in a tensor of \(count) elements")
    return unsafe Tensor(rows: rows, columns: columns, base: base + offset, arena: arena)
  }

  /// Rows `range` of the same memory under a second name.
  public borrowing func rows(_ range: Range<Int>) -> Tensor {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
    return region(range.lowerBound * columns, rows: range.count, columns: columns)
  }

  /// Host access to the elements; lives as long as the borrow.
  public var span: Span<Float> {
    @_lifetime(borrow self)
    borrowing get {
      let span = unsafe Span(_unsafeStart: base, count: count)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  public var mutableSpan: MutableSpan<Float> {
    @_lifetime(&self)
    mutating get {
      let span = unsafe MutableSpan(_unsafeStart: base, count: count)
      return unsafe _overrideLifetime(span, mutating: &self)
    }
  }

  /// For kernel and communication faces: valid while the arena lives.
  package borrowing func unsafeAddress() -> UnsafePointer<Float> { unsafe UnsafePointer(base) }
  package mutating func unsafeMutableAddress() -> UnsafeMutablePointer<Float> { unsafe base }
}

/// A tensor that a class can own and lend, and that an array can hold.
package final class TensorBox {
  package var values: Tensor
  package init(rows: Int, columns: Int, in arena: Arena) { values = Tensor(rows: rows, columns: columns, in: arena) }
}
