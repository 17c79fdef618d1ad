import ArgumentParser

/// `mfqat`, the root of all commands.
struct Mfqat: ParsableCommand {
  static let version = "0.1.0"
  static var _errorLabel: String { "error" }

  static let configuration = CommandConfiguration(
    commandName: "mfqat",
    abstract: "Trains language models for many number formats at once, and cuts every format out of one anchor.",
    discussion: """
      SOURCE is a Hugging Face folder, an anchor, a training checkpoint or a run directory. Results go to standard \
      output, progress and errors to standard error; --json makes results readable for machines. Exit status: 0 done, \
      1 refused, 2 wrong usage.
      """,
    version: version,
    subcommands: [
      PrepareCommand.self, TrainCommand.self, CalibrateCommand.self, ConvertCommand.self, EvaluateCommand.self, CompareCommand.self,
      GenerateCommand.self, InspectCommand.self, VerifyCommand.self, DoctorCommand.self, ReportCommand.self,
    ])
}
