import ArgumentParser
import Kernels

/// Process entry: the fastest kernels first, as `mfqat` does it, then the command.
@main enum Main {
  static func main() {
    BLAS.useFastestKernel(arguments: CommandLine.arguments)
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
      GemmCommand.self, QuantizeCommand.self, StepCommand.self, CollectivesCommand.self,
    ])
}
