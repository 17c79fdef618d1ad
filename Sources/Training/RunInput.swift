import Checkpoints
import Settings
import Text
import Transformer

/// What a run reads before its first step.
struct RunInput {
  let origin: ModelOrigin
  let tokens: TokenStream
  /// Nil for a run that validates nothing.
  let validation: TokenStream?
  /// What ranks must have read alike.
  let identity: String

  init(_ settings: RunConfiguration, open: (String) throws -> any ModelSource) throws {
    let context = settings.data.context
    let origin = try ModelOrigin(settings.model, open: open)
    guard context <= origin.configuration.maximumPositions else {
      throw ModelError(
        settings.model.path ?? "model.config",
        "data.context is \(context), the model has max_position_embeddings \(origin.configuration.maximumPositions)",
        hint: "Use a shorter context, or change config.json of the model.")
    }
    let tokenizer = try Tokenizer(json: origin.tokenizer.bytes, source: origin.tokenizer.path)
    func read(_ paths: [String]) throws -> TokenStream {
      let stream = try TokenStream.open(paths, tokenizer: tokenizer, vocabulary: origin.configuration.vocabularySize)
      _ = try BatchPlan(tokenCount: stream.count, context: context, seed: 0, source: paths.joined(separator: ", "))
      return stream
    }
    self.origin = origin
    tokens = try read(settings.data.train)
    validation =
      settings.data.validation.isEmpty || settings.logging.validateEvery == 0
      ? nil : try read(settings.data.validation)
    let configuration = origin.sidecars.first { $0.name == HuggingFaceFolder.configurationFile }?.bytes ?? []
    identity = [
      "config.json \(ContentHash(configuration))", "tokenizer.json \(ContentHash(origin.tokenizer.bytes))",
      "training text \(tokens.identity)", validation.map { "validation text \($0.identity)" } ?? "no validation text",
    ].joined(separator: "; ")
  }
}
