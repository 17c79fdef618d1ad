#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Which of its kernels OpenBLAS uses, and who decided it.
///
/// OpenBLAS 0.3.21 recognizes processors by model number: one younger than the library, or virtual, often gets the AVX2
/// kernel although it has AVX-512, at half the speed. The library decides when it is loaded and listens only to its
/// environment, so changing the decision means starting the program once more.
extension BLAS {
  public enum KernelChoice: Sendable, Hashable {
    /// OpenBLAS took it, and the processor allows no faster one.
    case fits
    /// `OPENBLAS_CORETYPE` was set by whoever started the program.
    case setOutside
    /// Chosen by ``useFastestKernel(arguments:)`` in place of the one named.
    case replaced(String)
    /// The processor allows a faster kernel than the one in use.
    case slow
  }

  /// How the kernel in use was chosen.
  public static var kernelChoice: KernelChoice {
    if let replaced = variable(replacedVariable), variable(coreVariable) == fastCore { return .replaced(replaced) }
    if allowsFasterKernel { return .slow }
    return variable(coreVariable) == nil ? .fits : .setOutside
  }

  /// Starts the program once more with OpenBLAS's AVX-512 kernel, if this processor has AVX-512 (f, dq, bw, vl),
  /// OpenBLAS chose another kernel and nobody set `OPENBLAS_CORETYPE`. Returns otherwise; call it before anything else,
  /// MPI included.
  ///
  /// The process keeps its id, its descriptors and its arguments. The variable is also the guard: it is set before the
  /// restart, so there is only one.
  ///
  /// - Parameters:
  ///   - arguments: of the process, its name first.
  ///   - evenIfPinned: also where `OPENBLAS_CORETYPE` asks for a slower kernel, as hosts and containers do that set it for
  ///     all programs alike.
  public static func useFastestKernel(arguments: [String], evenIfPinned: Bool = false) {
    let pin = variable(coreVariable)
    guard allowsFasterKernel, pin == nil || evenIfPinned && pin != fastCore, let program = executablePath else { return }
    unsafe setenv(replacedVariable, coreName, 1)
    unsafe setenv(coreVariable, fastCore, 1)
    // One thread from the start: the library would otherwise make a pool that is never used.
    unsafe setenv("OPENBLAS_NUM_THREADS", "1", 0)
    var copies: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) }
    unsafe copies.append(nil)
    // Sound: the array ends with nil and its strings are never freed; execv only returns on failure.
    _ = unsafe execv(program, copies)
    // It could not be started: go on as we are. `doctor` shows the slow kernel.
    if let pin { unsafe setenv(coreVariable, pin, 1) } else { unsafe unsetenv(coreVariable) }
    unsafe unsetenv(replacedVariable)
    for unsafe copy in unsafe copies { unsafe free(copy) }
  }

  private static let coreVariable = "OPENBLAS_CORETYPE"
  private static let replacedVariable = "MFQAT_BLAS_REPLACED"
  private static let fastCore = "SkylakeX"
  private static let wideCores: Set<String> = ["SkylakeX", "Cooperlake", "SapphireRapids"]

  /// The processor has AVX-512, the kernel in use does not need it, and the library can be told to take another.
  private static var allowsFasterKernel: Bool {
    KernelTable.available[0].name.hasPrefix("avx512") && !wideCores.contains(coreName) && version.contains("DYNAMIC_ARCH")
  }

  /// The path itself and not `/proc/self/exe`, which would become the name of the process.
  private static var executablePath: String? {
    var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let length = unsafe buffer.withUnsafeMutableBytes { bytes in
      unsafe readlink("/proc/self/exe", bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count)
    }
    guard length > 0 && length < buffer.count else { return nil }
    return String(decoding: buffer[..<length], as: UTF8.self)
  }

  private static func variable(_ name: String) -> String? {
    unsafe getenv(name).map { unsafe String(cString: $0) }
  }
}
