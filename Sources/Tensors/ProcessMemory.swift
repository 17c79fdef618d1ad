#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What this process has used, as the kernel counted it.
public enum ProcessMemory {
  /// The most memory that was resident at once, in bytes; 0 where the system does not say.
  ///
  /// From `/proc/self/status` and not from `getrusage`, whose maximum a program inherits from the one that started it.
  public static var peakBytes: Int {
    let file = unsafe open("/proc/self/status", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return 0 }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 8192)
    let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, $0.count) }
    guard count > 0 else { return 0 }
    let lines = String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n")
    let peak = lines.first { $0.hasPrefix("VmHWM:") }
    return (peak?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { Int($0) } ?? 0) * 1024
  }
}
