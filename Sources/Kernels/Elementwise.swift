import CKernels
public import Tensors

/// Elements of a piece where every element is its own: 256 KiB, some microseconds to tens of them.
let elementGrain = 1 << 16

/// Rows of a piece of about as many elements.
func rowGrain(columns: Int) -> Int { max(1, elementGrain / max(1, columns)) }

extension Tensor {
  public mutating func fillWithZeros() {
    let target = unsafe unsafeMutableAddress()
    ThreadTeam.shared.parallel(count, by: elementGrain) { range in
      unsafe (target + range.lowerBound).update(repeating: 0, count: range.count)
    }
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
    let target = unsafe unsafeMutableAddress(), source = unsafe other.unsafeAddress()
    ThreadTeam.shared.parallel(count, by: elementGrain) { range in
      unsafe (target + range.lowerBound).update(from: source + range.lowerBound, count: range.count)
    }
  }

  /// self += other
  public mutating func accumulate(_ other: borrowing Tensor) {
    precondition(count == other.count, "accumulate \(other.count) elements into \(count)")
    let target = unsafe unsafeMutableAddress(), source = unsafe other.unsafeAddress()
    let accumulate = unsafe KernelTable.current.operations.accumulate!
    ThreadTeam.shared.parallel(count, by: elementGrain) { range in
      unsafe accumulate(Int64(range.count), source + range.lowerBound, target + range.lowerBound)
    }
  }

  /// self *= factor
  public mutating func multiply(by factor: Float) {
    let target = unsafe unsafeMutableAddress(), scale = unsafe KernelTable.current.operations.scale!
    ThreadTeam.shared.parallel(count, by: elementGrain) { range in
      unsafe scale(Int64(range.count), factor, target + range.lowerBound)
    }
  }

  /// No NaN and no infinity among the elements.
  public var isFinite: Bool {
    unsafe KernelTable.current.operations.all_finite(Int64(count), unsafeAddress())
  }
}
