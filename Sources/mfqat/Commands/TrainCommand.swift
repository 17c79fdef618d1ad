import ArgumentParser
import Checkpoints
import Communication
import Settings
import Training
import Transformer

/// `mfqat train`: alone, or as one of the ranks of mpirun and srun.
struct TrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train",
    abstract: "Train for one or many formats and write the anchor.",
    discussion: """
      Launch it with mpirun or srun for several ranks, or by itself for one: in exact mode the numbers are the same. \
      Ctrl-C, SIGTERM and SIGUSR1 save a checkpoint after the step or the micro-batch in progress; --resume auto goes on \
      from there.
      """)

  /// Exit status where no checkpoint of the run verifies (EX_NOINPUT of sysexits.h): a restart will not help.
  private static let noUsableCheckpoint: Int32 = 66

  @Option(name: [.short, .long], help: "The run's configuration (YAML); configs/reference.yaml explains every key.")
  var config: String

  @Option(help: ArgumentHelp("Override a key; may be repeated.", valueName: "section.key=value"))
  var set: [String] = []

  @Option(help: ArgumentHelp(
    "Continue: auto takes the newest checkpoint of the run that verifies, or starts anew if there is none.",
    valueName: "auto|checkpoint"))
  var resume: String?

  @Flag(help: "Lay everything out, print memory and plan, and stop.")
  var dryRun = false

  @OptionGroup var output: OutputOptions

  func run() throws {
    let communicator = try Communicator.world()
    do {
      try train(communicator)
    } catch let failure as CollectiveFailure {
      // Every rank is here: one speaks, and none leaves before it has.
      if failure.speaks { Terminal.note("error: \(failure)") }
      try communicator.barrier()
      throw ExitCode(failure.underlying is NoUsableCheckpoint ? Self.noUsableCheckpoint : 1)
    }
  }

  private func train(_ communicator: Communicator) throws {
    let settings = try communicator.onEveryRank { try RunConfiguration(contentsOf: config, overrides: set) }
    let progress = settings.logging.progress && !output.quiet
    let run = try TrainingRun(
      settings, communicator: communicator, open: { try ModelSources.open($0) },
      report: { if progress { Terminal.note($0) } })
    if dryRun {
      if communicator.isRoot { try output.print(run.plan.json, run.plan.text) }
      return
    }
    try run.run(resume: resume.map { $0 == "auto" ? .newest : .from($0) } ?? .no)
    if communicator.isRoot { try output.print(run.summary.json, run.summary.text) }
  }
}
