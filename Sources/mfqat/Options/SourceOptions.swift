import ArgumentParser
import Communication
import Text
import Transformer

/// The model a command works on.
struct SourceOptions: ParsableArguments {
  @Argument(help: ArgumentHelp(
    "Hugging Face folder, anchor, training checkpoint or run directory.", valueName: "source"))
  var path: String

  func open(_ output: OutputOptions) throws -> any ModelSource { try ModelSources.open(path, note: output.note) }
}

extension ModelSource {
  /// The tokenizer that travels with the weights.
  func tokenizer() throws -> Tokenizer {
    guard sidecarNames.contains(Self.tokenizerFile) else {
      throw Refusal("\(path): no \(Self.tokenizerFile) beside the weights. Copy the one of the original model there.")
    }
    return try Tokenizer(json: sidecar(Self.tokenizerFile), source: path + "/" + Self.tokenizerFile)
  }

  /// Refuses ids that the embedding has no row for.
  func require(_ ids: [Int32], from tokenizer: Tokenizer) throws {
    let rows = configuration.vocabularySize
    guard let id = ids.first(where: { $0 < 0 || Int($0) >= rows }) else { return }
    throw Refusal(
      "\(tokenizer.source): gives token \(id), the model \(path) has \(rows). The tokenizer belongs to another model.")
  }
}

/// Commands that are one process and no more.
enum SingleProcess {
  /// Refuses to run several times at once: every rank would do and write the same. Rank 0 says so, the others leave.
  static func require(_ command: String) throws {
    guard case .byLauncher(_, let ranks?) = Launch.current, ranks > 1 else { return }
    let rank = Environment["OMPI_COMM_WORLD_RANK"] ?? Environment["PMIX_RANK"] ?? Environment["PMI_RANK"] ?? "0"
    guard rank == "0" else { throw ExitCode(1) }
    throw Refusal(
      "mfqat \(command) is one process, the launcher started \(ranks). Run it without mpirun or srun; only train, "
        + "calibrate and doctor use ranks.")
  }
}
