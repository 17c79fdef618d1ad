#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Memory that is laid out once and never freed piecemeal: tensors are leases into it.
///
/// Pages come from the system untouched, so *laying out* a model costs address space, not memory. That makes a dry run
/// the real construction: build everything, read `reservedBytes`, touch nothing.
///
/// - Note: An arena outlives its leases: every lease holds a reference to it.
@safe public final class Arena {
  public let name: String
  /// Bytes leased so far, padding to 64-byte lines included.
  public private(set) var reservedBytes = 0

  private var regions: [(base: UnsafeMutableRawPointer, size: Int)] = unsafe []
  private var used = 0

  /// Leases start on cache lines, so that no two tensors share one and vector loads never split at the start.
  private static let alignment = 64
  private static let regionSize = 64 << 20

  public init(_ name: String) {
    self.name = name
  }

  deinit {
    for unsafe region in unsafe regions { unsafe munmap(region.base, region.size) }
  }

  /// Leases `byteCount` zeroed bytes, aligned to a cache line.
  func lease(byteCount: Int) -> UnsafeMutableRawPointer {
    precondition(byteCount >= 0, "arena \(name): lease of \(byteCount) bytes")
    let size = (byteCount + Self.alignment - 1) / Self.alignment * Self.alignment
    if unsafe regions.isEmpty || used + size > regions[regions.count - 1].size { grow(atLeast: size) }
    let address = unsafe regions[regions.count - 1].base + used
    used += size
    reservedBytes += size
    return unsafe address
  }

  private func grow(atLeast size: Int) {
    let page = 4096
    let length = (max(size, Self.regionSize) + page - 1) / page * page
    let mapped = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
      fatalError("arena \(name): the system refused \(length) bytes (\(unsafe String(cString: strerror(errno)))); "
        + "\(reservedBytes) are in use. Reduce batch or context, or use more ranks.")
    }
    unsafe regions.append((mapped, length))
    used = 0
  }
}
