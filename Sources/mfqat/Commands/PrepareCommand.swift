import ArgumentParser
import Checkpoints
import Reports
import Text
import Transformer

/// `mfqat prepare`: texts to token ids, once.
struct PrepareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prepare",
    abstract: "Tokenize texts into one token file.",
    discussion: """
      The files are one text, in the order given: plain text in UTF-8, .jsonl with a member "text" or "messages" a \
      line, .json with an array of strings or such objects. No special tokens are added. train and evaluate take \
      the result in place of the text.
      """)

  @Option(help: "Model whose tokenizer is used: a folder with tokenizer.json, or any SOURCE.")
  var model: String

  @Option(parsing: .upToNextOption, help: ArgumentHelp("Text files.", valueName: "file"))
  var text: [String]

  @Option(help: ArgumentHelp("Token file to write.", valueName: "file"))
  var out: String

  @Flag(help: "Replace the file if it exists.")
  var overwrite = false

  @OptionGroup var output: OutputOptions

  func run() throws {
    try SingleProcess.require("prepare")
    guard overwrite || !FileBytes.exists(out) else {
      throw Refusal("\(out): the file exists. Remove it, choose another name or give --overwrite.")
    }
    let tokenizer = try Self.tokenizer(of: model)
    let source = try TextSource.load(text)
    guard !source.utf8.isEmpty else {
      throw Refusal("\(text.joined(separator: ", ")): no text in it. Give at least one file that is not empty.")
    }
    let count = try TokenFile.write(source, with: tokenizer, to: out)
    let file = try TokenFile(out)
    let bytesPerToken = Double(source.utf8.count) / Double(max(count, 1))
    var table = TextTable([.init("token file"), .init(out)])
    table.add(["text", "\(Figures.bytes(source.utf8.count)) in \(text.count) file\(text.count == 1 ? "" : "s")"])
    table.add(["tokens", "\(Figures.grouped(count)), \(Figures.fixed(bytesPerToken, 2)) bytes of text each"])
    table.add(["vocabulary", Figures.grouped(file.vocabularySize)])
    table.add(["stored", "\(file.width) bytes a token"])
    try output.print(
      [
        "path": .string(out), "text": .array(text.map { .string($0) }), "text_bytes": .integer(source.utf8.count),
        "tokens": .integer(count), "vocabulary": .integer(file.vocabularySize), "bytes_per_id": .integer(file.width),
        "text_hash": .string(file.textHash), "tokenizer_hash": .string(file.tokenizerHash),
      ], table.plain)
  }

  /// A folder that holds only a tokenizer will do: a model to be trained from nothing has no weights yet.
  private static func tokenizer(of path: String) throws -> Tokenizer {
    let file = path + "/" + HuggingFaceFolder.tokenizerFile
    if FileBytes.exists(file) && !TensorContainer.isContainer(path) { return try Tokenizer(contentsOf: file) }
    return try ModelSources.open(path).tokenizer()
  }
}
