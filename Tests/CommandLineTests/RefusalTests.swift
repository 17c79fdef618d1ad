import Foundation
import Testing

/// Every refusal: status, one clear message on standard error, nothing on standard output.
@Suite struct RefusalTests {
  let scratch: Scratch
  let model: String
  let text: String

  init() throws {
    scratch = try Scratch()
    model = scratch("model")
    text = scratch("text.txt")
    try TinyModel.write(to: model)
    try scratch.write(String(repeating: "the quick brown fox jumps over the lazy dog. ", count: 8), to: "text.txt")
  }

  private func anchor() throws -> String {
    let made = try CommandLineTool.run(["convert", model, "--to", "mxint8", "--out", scratch("anchor")])
    #expect(made.status == 0, "\(made.errors)")
    return scratch("anchor")
  }

  /// Runs and expects a refusal whose message holds all of `parts`.
  private func refused(
    _ arguments: [String], status: Int32 = 1, environment: [String: String] = [:], _ parts: String...,
    location: SourceLocation = #_sourceLocation
  ) throws {
    let result = try CommandLineTool.run(arguments, environment: environment)
    #expect(result.status == status && !result.isSignal, "\(result)", sourceLocation: location)
    #expect(result.output.isEmpty, "\(result.output)", sourceLocation: location)
    #expect(result.errors.hasPrefix("error: "), "\(result.errors)", sourceLocation: location)
    #expect(result.errors.ranges(of: "error: ").count == 1, "\(result.errors)", sourceLocation: location)
    if status == 1 {
      #expect(result.errors.filter { $0 == "\n" }.count == 1, "one line: \(result.errors)", sourceLocation: location)
    }
    for part in parts {
      #expect(result.errors.contains(part), "'\(part)' in: \(result.errors)", sourceLocation: location)
    }
    // What Swift prints of values and of crashes.
    for dump in ["Fatal error", "Error(", "Swift.", "Optional(", "nil"] {
      #expect(!result.errors.contains(dump), "\(result.errors)", sourceLocation: location)
    }
  }

  // MARK: Usage, status 2

  @Test func unknownFormatsNameTheNearest() throws {
    try refused(
      ["evaluate", model, "--text", text, "--format", "mxin4"], status: 2, "unknown format 'mxin4'", "nearest name is mxint4")
    try refused(["convert", model, "--to", "mxfp8", "--out", scratch("x")], status: 2, "mxfp8_e4m3 or mxfp8_e5m2")
    try refused(["generate", model, "--prompt", "a", "--format", "int4"], status: 2, "'int4'", "mxint4")
  }

  @Test func aFormatTwiceAndAnEmptyName() throws {
    try refused(["evaluate", model, "--text", text, "--format", "mxint4,MXINT4"], status: 2, "mxint4 is named twice")
    try refused(["convert", model, "--to", "mxint4,", "--out", scratch("x")], status: 2, "unknown format ''")
  }

  @Test func missingArgumentsAndOptionsThatDoNotGoTogether() throws {
    try refused(["evaluate"], status: 2, "<source>", "mfqat evaluate --help")
    try refused(["evaluate", model], status: 2, "--text")
    try refused(["evaluate", model, "--text", text, "--context", "1"], status: 2, "at least 2 tokens")
    try refused(["evalute", model], status: 2, "evalute")
    try refused(["report"], status: 2, "--column TITLE=FILE")
    try refused(["report", "--column", "title"], status: 2, "TITLE=FILE")
    try refused(["report", "run", "--markdown"], status: 2, "for columns")
    try refused(["convert", model, "--to", "mxint4", "--out", "x", "--as", "gguf"], status: 2, "gguf", "anchor", "dense")
  }

  // MARK: Files

  @Test func filesThatAreNotThere() throws {
    try refused(["evaluate", scratch("none"), "--text", text], "none", "no such file or folder", "Hugging Face folder")
    try refused(["evaluate", model, "--text", scratch("none.txt")], "none.txt", "No such file")
    try refused(["evaluate", model, "--text", text, "--against", scratch("none")], "none", "no such file")
    try refused(["inspect", scratch("none")], "none", "no such file")
    try refused(["verify", scratch("none")], "none", "no such file")
    try refused(["prepare", "--model", scratch("none"), "--text", text, "--out", scratch("t.bin")], "none", "no such file")
    try refused(["report", "--column", "a=\(scratch("none.json"))"], "none.json", "No such file")
    try refused(["report", scratch("none")], "none", "expected a run directory")
  }

  @Test func aFileInPlaceOfAFolder() throws {
    try refused(["inspect", text], "text.txt", "a folder is expected")
    try refused(["inspect", scratch.path], "no model", "Expected:")
  }

  @Test func outputsThatExist() throws {
    let anchor = try anchor()
    try refused(["convert", model, "--to", "mxint8", "--out", anchor], "anchor", "exists and holds", "nothing is overwritten")
    try refused(["convert", model, "--to", "mxint8", "--out", text], "text.txt", "file of that name")
    try refused(
      ["convert", model, "--to", "mxint8", "--out", anchor, "--dry-run"], "exists and holds")
    try refused(["prepare", "--model", model, "--text", text, "--out", text], "text.txt", "exists", "--overwrite")
  }

  @Test func aMissingTokenizer() throws {
    try FileManager.default.removeItem(atPath: model + "/tokenizer.json")
    try refused(["evaluate", model, "--text", text], "no tokenizer.json beside the weights")
    try refused(["generate", model, "--prompt", "a"], "no tokenizer.json beside the weights")
  }

  // MARK: Models and formats

  @Test func anUnknownArchitecture() throws {
    try TinyModel.write(to: scratch("mamba"), architecture: "MambaForCausalLM")
    for command in [["inspect"], ["verify"], ["generate", "--prompt", "a"], ["convert", "--to", "mxint4", "--out", scratch("x")]] {
      var arguments = command
      arguments.insert(scratch("mamba"), at: 1)
      try refused(arguments, "architecture 'MambaForCausalLM' is not supported", "LlamaForCausalLM", "config.json")
    }
  }

  @Test func formatsThatCannotBeCut() throws {
    let anchor = try anchor()
    try refused(["convert", anchor, "--to", "mxfp4", "--out", scratch("x")], "cannot slice mxfp4 from mxint8", "can be cut: mxint2, mxint3")
    try refused(["evaluate", anchor, "--text", text, "--format", "mxfp4"], "cannot slice mxfp4 from mxint8")
    try refused(["generate", anchor, "--prompt", "a", "--format", "mxfp6_e2m3"], "cannot slice mxfp6_e2m3 from mxint8")
    try refused(["evaluate", anchor, "--text", text, "--format", "fp32"], "an anchor has no fp32 weights", "mxint8")
    #expect(!FileManager.default.fileExists(atPath: scratch("x")))
  }

  @Test func slicesAreNotCutFromSlices() throws {
    let anchor = try anchor()
    let made = try CommandLineTool.run(["convert", anchor, "--to", "mxint4", "--out", scratch("slice")])
    #expect(made.status == 0, "\(made.errors)")
    try refused(["convert", scratch("slice"), "--to", "mxint2", "--out", scratch("x")], "mxint4 is no anchor")
  }

  // MARK: Texts

  @Test func aTextShorterThanOneWindow() throws {
    try scratch.write("short", to: "short.txt")
    try refused(["evaluate", model, "--text", scratch("short.txt"), "--context", "32"], "5 tokens", "one window needs 32", "--context")
    try refused(
      ["evaluate", model, "--text", text, "--context", "32", "--max-tokens", "31"], "31 tokens", "one window needs 32")
  }

  @Test func aContextTheModelDoesNotHave() throws {
    try refused(["evaluate", model, "--text", text, "--context", "65"], "--context 65", "attends to 64")
    let prompt = String(repeating: "a", count: 64)
    try refused(["generate", model, "--prompt", prompt], "the prompt has 64 tokens", "attends to 64")
    try refused(["generate", model, "--prompt", ""], "--prompt: empty")
  }

  @Test func textsThatAreNotUTF8OrEmpty() throws {
    try Data([0x61, 0xFF]).write(to: URL(fileURLWithPath: scratch("latin.txt")))
    try refused(["evaluate", model, "--text", scratch("latin.txt")], "latin.txt", "UTF-8", "byte 1")
    try scratch.write("", to: "empty.txt")
    try refused(["prepare", "--model", model, "--text", scratch("empty.txt"), "--out", scratch("t.bin")], "empty.txt", "no text")
    #expect(!FileManager.default.fileExists(atPath: scratch("t.bin")))
  }

  // MARK: Reports

  @Test func recordsAndDocumentsThatAreNone() throws {
    try scratch.write("{}", to: "record.json")
    try refused(["report", "--column", "a=\(scratch("record.json"))"], "record.json", "\"source\"", "evaluate --json")
    try scratch.write("[1,", to: "record.json")
    try refused(["report", "--column", "a=\(scratch("record.json"))"], "record.json", "JSON")
    try scratch.write(
      #"{"source":"s","text":"t","context":2,"tokens_scored":1,"results":[]}"#, to: "record.json")
    try scratch.write("nothing here", to: "README.md")
    try refused(
      ["report", "--column", "a=\(scratch("record.json"))", "--into", scratch("README.md"), "--marker", "table"],
      "README.md", "<!-- table -->")
  }

  // MARK: Surroundings

  @Test func severalRanks() throws {
    let environment = ["OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "0"]
    try refused(["inspect", model], environment: environment, "one process", "started 3")
    // The other ranks leave without a word.
    let other = try CommandLineTool.run(["inspect", model], environment: environment.merging(["OMPI_COMM_WORLD_RANK": "1"]) { $1 })
    #expect(other.status == 1 && other.output.isEmpty && other.errors.isEmpty)
  }

  @Test func aKernelTableThatIsNone() throws {
    try refused(["inspect", model], environment: ["MFQAT_KERNELS": "sse"], "MFQAT_KERNELS=sse", "scalar")
  }

  @Test func namesCannotDriveATerminal() throws {
    try refused(["inspect", scratch("\u{1B}[31mred\u{07}")], "\\u{1b}[31mred\\u{7}")
  }

  @Test func aFullDisk() throws {
    let result = try CommandLineTool.run(
      program: "/bin/sh", ["-c", "exec \"$0\" inspect \"$1\" > /dev/full", CommandLineTool.path, model])
    #expect(result.status == 1 && result.errors.hasPrefix("error: cannot write to standard output: No space left"))
  }
}
