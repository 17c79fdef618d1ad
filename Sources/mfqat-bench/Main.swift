import ArgumentParser
import Foundation
import Kernels

/// Process entry: the fastest kernels first, then the command.
@main enum Main {
  static func main() {
    // A host that pins OpenBLAS for all programs would have its pin measured. MFQAT_BENCH_BLAS=pinned measures just that.
    let keepsPin = ProcessInfo.processInfo.environment["MFQAT_BENCH_BLAS"] == "pinned"
    BLAS.useFastestKernel(arguments: CommandLine.arguments, evenIfPinned: !keepsPin)
    Bench.main()
  }
}

/// `mfqat-bench`, the root of all measurements.
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mfqat-bench",
    abstract: "Measures the parts of mfqat and its training step on this machine.",
    discussion: """
      Every time is taken twice: wall clock, and processor time of this process. Processor time does not count what \
      other processes take, but still suffers from them where two logical processors share a core. Medians, the least \
      disturbed measurement and the spread are printed; --json gives one object a line.
      """,
    subcommands: [
      GemmCommand.self, QuantizeCommand.self, HadamardCommand.self, LinearCommand.self, StepCommand.self,
      CollectivesCommand.self, CommunicationCommand.self, WireCommand.self, CheckpointCommand.self,
      AnchorSizeCommand.self, OutliersCommand.self, GPTQCommand.self, MomentsCommand.self,
    ])
}
