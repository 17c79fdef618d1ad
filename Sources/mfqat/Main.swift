import ArgumentParser
import Kernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Process entry: the fastest kernels, quiet signals, one place where errors become words and an exit status.
///
/// Exit status: 0 done, 1 refused or failed, 2 wrong usage, 66 no checkpoint of the run verifies, 130 after Ctrl-C, death by SIGPIPE when a reader left.
@main enum Main {
  static func main() {
    BLAS.useFastestKernel(arguments: CommandLine.arguments)
    Signals.install()
    do {
      try checkKernelChoice()
      var command = try Mfqat.parseAsRoot()
      try command.run()
    } catch {
      exit(report(error))
    }
    exit(0)
  }

  /// Says what went wrong, or what was asked for, and returns the exit status.
  private static func report(_ error: any Error) -> Int32 {
    if let code = error as? ExitCode { return code.rawValue }
    let code = Mfqat.exitCode(for: error)
    if code.isSuccess {
      // Help and version are results.
      do { try Terminal.output(Mfqat.fullMessage(for: error) + "\n") } catch { return 1 }
      return 0
    }
    let isUsage = code == .validationFailure
    Terminal.note(isUsage ? Mfqat.fullMessage(for: error) : "error: \(Mfqat.message(for: error))")
    return isUsage ? 2 : 1
  }

  /// An unknown table is a refusal here, and not a trap at the first product.
  private static func checkKernelChoice() throws {
    guard let wanted = Environment["MFQAT_KERNELS"] else { return }
    let known = KernelTable.available.map(\.name)
    guard known.contains(wanted) else {
      throw Refusal(
        "MFQAT_KERNELS=\(wanted): this processor runs \(known.joined(separator: ", ")). Set one of them, or none.")
    }
  }
}
