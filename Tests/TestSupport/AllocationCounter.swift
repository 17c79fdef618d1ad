import CTestHooks

/// Counts what a piece of code allocates on the heap, for tests that claim it allocates nothing.
public enum AllocationCounter {
  /// False where the C library's allocator cannot be watched.
  public static var isAvailable: Bool { ctest_counts_allocations() }
  public static let absence = "allocations are counted with glibc only"

  /// Calls of malloc and its relatives by this thread during `body`, those of every library but OpenBLAS included. Calls of other
  /// threads, tests that run beside this one among them, are not counted. Not for nested use.
  public static func count(_ body: () throws -> Void) rethrows -> Int {
    ctest_start_counting()
    defer { _ = ctest_stop_counting() }
    try body()
    return Int(ctest_stop_counting())
  }

  /// The largest number of bytes that one such call asks for during `body`, OpenBLAS's own included. Under the same
  /// conditions as `count`.
  public static func largest(_ body: () throws -> Void) rethrows -> Int {
    ctest_start_counting()
    defer { _ = ctest_stop_counting() }
    try body()
    _ = ctest_stop_counting()
    return Int(ctest_largest_allocation())
  }
}
