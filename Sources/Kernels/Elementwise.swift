import CKernels
public import Tensors

extension Tensor {
  public mutating func fillWithZeros() {
    unsafe unsafeMutableAddress().update(repeating: 0, count: count)
  }

  /// Zeros in columns `range` of every row.
  public mutating func fillColumnsWithZeros(_ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of \(columns)")
    for row in 0..<rows {
      unsafe (unsafeMutableAddress() + row * columns + range.lowerBound).update(repeating: 0, count: range.count)
    }
  }

  /// self = other, element by element.
  public mutating func copy(from other: borrowing Tensor) {
    precondition(count == other.count, "copy of \(other.count) elements into \(count)")
    unsafe unsafeMutableAddress().update(from: other.unsafeAddress(), count: count)
  }

  /// self += other
  public mutating func accumulate(_ other: borrowing Tensor) {
    precondition(count == other.count, "accumulate \(other.count) elements into \(count)")
    unsafe KernelTable.current.operations.accumulate(Int64(count), other.unsafeAddress(), unsafeMutableAddress())
  }

  /// self *= factor
  public mutating func multiply(by factor: Float) {
    unsafe KernelTable.current.operations.scale(Int64(count), factor, unsafeMutableAddress())
  }

  /// No NaN and no infinity among the elements.
  public var isFinite: Bool {
    unsafe KernelTable.current.operations.all_finite(Int64(count), unsafeAddress())
  }
}
