import CKernels
public import Tensors

/// A signed block Hadamard rotation along one axis (`ck_panels.h`).
public final class BlockRotation {
  public let block: Int
  /// Per position 0, or the sign bit of a float.
  public var signs: HostBuffer<UInt32>

  /// - Parameter length: of the axis; signs are laid out for it rounded up to whole blocks.
  public init(block: Int, length: Int, in arena: Arena) {
    precondition([16, 32, 64, 128].contains(block), "a rotation block of \(block): 16, 32, 64 or 128")
    self.block = block
    signs = HostBuffer(count: (length + block - 1) / block * block, in: arena)
  }

  @unsafe func raw() -> ck_rotation { unsafe ck_rotation(block: Int32(block), signs: signs.unsafeAddress()) }
}

/// The largest magnitude of a matrix, rotated or as it is; NaN if an element is not finite.
public enum Largest {
  public static func magnitude(
    of x: borrowing Tensor, contracting: Operand.Contraction, rotation: BlockRotation? = nil,
    on table: KernelTable = .current
  ) -> Float {
    var raw = unsafe rotation?.raw() ?? ck_rotation(block: 0, signs: nil)
    let (rows, columns) = (Int64(x.rows), Int64(x.columns))
    return switch contracting {
    case .columns: unsafe table.panels.largest_rows(&raw, rows, columns, x.unsafeAddress(), columns)
    case .rows: unsafe table.panels.largest_columns(&raw, rows, columns, x.unsafeAddress(), columns)
    }
  }
}

extension BlockRotation {
  public enum Axis: Sendable { case rows, columns }
  public enum Direction: Sendable { case forward, inverse }

  /// Rotates `x` in place: every row along its columns, or every column along its rows. The axis is a multiple of the
  /// block.
  public func apply(
    to x: inout Tensor, along axis: Axis, _ direction: Direction = .forward, on table: KernelTable = .current
  ) {
    let length = axis == .columns ? x.columns : x.rows
    precondition(length % block == 0 && length <= signs.count, "rotation of \(length) elements by blocks of \(block)")
    var raw = unsafe raw()
    let (rows, columns) = (Int64(x.rows), Int64(x.columns))
    switch axis {
    case .columns:
      unsafe table.panels.rotate_rows(&raw, rows, columns, x.unsafeMutableAddress(), columns, direction == .inverse)
    case .rows:
      unsafe table.panels.rotate_columns(&raw, rows, columns, x.unsafeMutableAddress(), columns, direction == .inverse)
    }
  }
  /// Rotates columns `range` of every row of `x` in place: whole blocks, their signs those of the first `range.count`
  /// positions.
  public func apply(
    toColumns range: Range<Int>, of x: inout Tensor, _ direction: Direction = .forward,
    on table: KernelTable = .current
  ) {
    precondition(range.lowerBound >= 0 && range.upperBound <= x.columns, "columns \(range) of \(x.columns)")
    precondition(range.count % block == 0 && range.count <= signs.count,
      "rotation of \(range.count) elements by blocks of \(block)")
    guard x.rows > 0 else { return }
    var raw = unsafe raw()
    // Sound: the range lies inside each row, rows are `columns` apart.
    unsafe table.panels.rotate_rows(
      &raw, Int64(x.rows), Int64(range.count), x.unsafeMutableAddress() + range.lowerBound, Int64(x.columns),
      direction == .inverse)
  }
}
