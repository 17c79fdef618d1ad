import ArgumentParser
import Checkpoints
import Formats
import Tensors
import Text
import Transformer

/// `mfqat generate`: a continuation of a prompt, as it comes.
struct GenerateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Continue a prompt.",
    discussion: """
      The text, prompt included, goes to standard output as it comes. The same seed gives the same text. Special \
      tokens that the model's tokenizer puts before a text are put before the prompt.
      """)

  @OptionGroup var source: SourceOptions

  @Option(help: "Text to continue.")
  var prompt: String

  @Option(
    help: ArgumentHelp("Format of the weights. (default: as stored)", valueName: "format"),
    transform: { try FormatChoice($0) })
  var format: FormatChoice?

  @Option(
    help: ArgumentHelp("Round inputs of linear layers to this format.", valueName: "format"),
    transform: { try MXFormat(named: $0) })
  var activations: MXFormat?

  @Option(help: ArgumentHelp("Tokens to add at most.", valueName: "n"))
  var maxTokens = 128

  @Option(help: ArgumentHelp("0 takes the most likely token; higher is more varied.", valueName: "t"))
  var temperature = 0.8

  @Option(help: ArgumentHelp("Choose among the n most likely tokens only.", valueName: "n"))
  var topK: Int?

  @Option(help: ArgumentHelp(
    "Choose among the most likely tokens that together have this probability.", valueName: "p"))
  var topP: Double?

  @Option(help: ArgumentHelp("Seed of the choices.", valueName: "n"))
  var seed: UInt64 = 0

  @OptionGroup var output: OutputOptions

  func validate() throws {
    if maxTokens < 1 { throw ValidationError("--max-tokens \(maxTokens): at least one token is added.") }
  }

  func run() throws {
    try SingleProcess.require("generate")
    let model = try source.open(output)
    let tokenizer = try model.tokenizer()
    let promptIDs = try self.promptIDs(tokenizer, model)
    let choice = try EvaluationFormats.resolve(format.map { [$0] }, for: model)[0]
    let parameters = Parameters(model.configuration, in: Arena("weights"))
    let weights = try model.load(into: parameters, as: choice.block)

    let limit = model.configuration.contextLimit
    guard promptIDs.count < limit else {
      throw Refusal(
        "the prompt has \(promptIDs.count) tokens, the model \(model.path) attends to \(limit). Shorten it.")
    }
    let generator = try Generator(
      parameters, maximumTokens: min(limit, promptIDs.count + maxTokens),
      activationFormat: activations)
    var stream = TokenStreamDecoder(tokenizer, skippingSpecialTokens: true)
    // The prompt's tokens go through the decoder, too: whether a blank stands before the next word depends on them.
    var shown = ""
    for id in promptIDs { shown += stream.feed(id) }
    if !output.json { try Terminal.outputForeign(shown) }
    var text = "", failure: (any Error)?
    let continuation = try generator.generate(
      prompt: promptIDs, maxTokens: maxTokens, temperature: temperature, seed: seed, topK: topK, topP: topP
    ) { id in
      let piece = stream.feed(id)
      text += piece
      if output.json || piece.isEmpty { return true }
      do { try Terminal.outputForeign(piece) } catch { failure = error }
      return failure == nil
    }
    if let failure { throw failure }
    let rest = stream.finish()
    text += rest
    if !output.json { try Terminal.outputForeign(rest + "\n") }
    if case .contextFull = continuation.ending { output.note("the text ends here: \(continuation.ending)") }
    guard output.json else { return }
    var object = JSONObject()
    object["source"] = .string(source.path)
    object["format"] = .string(choice == .stored ? weights.name : choice.description)
    object["method"] = .string(weights.label)
    object["activations"] = activations.map { .string($0.name) }
    object["prompt"] = .string(prompt)
    object["text"] = .string(text)
    object["prompt_tokens"] = .integer(promptIDs.count)
    object["tokens"] = .integer(continuation.tokens.count)
    object["ending"] = .string(continuation.ending.description)
    object["temperature"] = .number(temperature)
    object["seed"] = .string(String(seed))
    try output.print(.object(object), "")
  }

  private func promptIDs(_ tokenizer: Tokenizer, _ model: any ModelSource) throws -> [Int32] {
    var ids = try tokenizer.prefixIDs + tokenizer.encode(prompt)
    if ids.isEmpty, let begin = model.configuration.beginToken { ids = [Int32(begin)] }
    guard !ids.isEmpty else {
      throw Refusal("--prompt: empty, and the model \(model.path) has no token that begins a text. Give some text.")
    }
    try model.require(ids, from: tokenizer)
    return ids
  }
}
