import CKernels
import Kernels

/// The two loops of the reduction, from the kernel table in use; each is exact elementwise, so every table gives the
/// same bits.
enum ContributionKernels {
  /// y[i] += x[i]
  static func accumulate(_ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, count: Int) {
    guard let kernel = unsafe KernelTable.current.operations.accumulate else { absent("accumulate") }
    unsafe kernel(Int64(count), x, y)
  }

  /// x[i] *= factor
  static func scale(_ x: UnsafeMutablePointer<Float>, by factor: Float, count: Int) {
    guard let kernel = unsafe KernelTable.current.operations.scale else { absent("scale") }
    unsafe kernel(Int64(count), factor, x)
  }

  private static func absent(_ name: String) -> Never {
    preconditionFailure("kernel table \(KernelTable.current.name) has no entry '\(name)'")
  }
}
