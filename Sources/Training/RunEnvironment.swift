import Checkpoints
import Communication
import Kernels
import Transformer

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a run's numbers and speed depend on outside its configuration.
enum RunEnvironment {
  static func json(ranks: Int) -> String {
    let value: JSONValue = [
      "ranks": .integer(ranks), "mpi": .string(Communicator.mpiLibrary), "kernels": .string(KernelTable.current.name),
      "blas": .string(BLAS.version), "blas_kernel": .string(BLAS.coreName), "host": .string(host),
      "processor": .string(processor),
    ]
    return String(decoding: value.serialized(order: .given, indent: 2), as: UTF8.self) + "\n"
  }

  /// The name of this machine.
  static var host: String {
    var name = utsname()
    guard unsafe uname(&name) == 0 else { return "unknown" }
    return unsafe withUnsafeBytes(of: &name.nodename) { bytes in
      unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  private static var processor: String {
    guard let bytes = try? FileBytes.read("/proc/cpuinfo") else { return "unknown" }
    let line = String(decoding: bytes, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("model name") }
    return line?.split(separator: ":").last.map { String($0.drop { $0 == " " }) } ?? "unknown"
  }
}
