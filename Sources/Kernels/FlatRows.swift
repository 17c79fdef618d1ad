import CKernels

/// Element-wise arithmetic of flat runs of fp32 that are no tensors: bytes of a message, rows of a shard.
package enum FlatRows {
  /// y += x. Neither needs to be aligned beyond a float.
  @unsafe package static func add(_ x: UnsafePointer<Float>, count: Int, to y: UnsafeMutablePointer<Float>) {
    let accumulate = unsafe KernelTable.current.operations.accumulate!
    ThreadTeam.shared.parallel(count, by: elementGrain) { range in
      unsafe accumulate(Int64(range.count), x + range.lowerBound, y + range.lowerBound)
    }
  }

  /// difference = a - b
  @unsafe package static func subtract(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int, into difference: UnsafeMutablePointer<Float>
  ) {
    ThreadTeam.shared.parallel(count, by: elementGrain) { range in
      for index in range { unsafe difference[index] = a[index] - b[index] }
    }
  }
}
