import Foundation
import Testing

/// What commands give: objects for machines, tables for people, a clean standard error.
@Suite struct ResultTests {
  let scratch: Scratch
  let model: String
  let text: String

  init() throws {
    scratch = try Scratch()
    model = scratch("model")
    text = scratch("text.txt")
    try TinyModel.write(to: model)
    try scratch.write(String(repeating: "the quick brown fox jumps over the lazy dog. ", count: 20), to: "text.txt")
  }

  private func run(_ arguments: String..., location: SourceLocation = #_sourceLocation) throws -> CommandLineTool.Result {
    let result = try CommandLineTool.run(arguments)
    #expect(result.status == 0 && result.errors.isEmpty, "\(arguments): \(result)", sourceLocation: location)
    #expect(!result.output.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" }, sourceLocation: location)
    return result
  }

  @Test func everyCommandHasAnObject() throws {
    _ = try run("convert", model, "--to", "mxint8", "--out", scratch("anchor"))
    try scratch.write(#"{"step":1,"loss":3,"tokens":10,"format":"mxint4"}"# + "\n", to: "run/metrics.jsonl")
    let commands: [([String], [String])] = [
      (["prepare", "--model", model, "--text", text, "--out", scratch("t.bin")], ["tokens", "vocabulary", "text_hash"]),
      (["convert", model, "--to", "mxint4", "--out", scratch("low"), "--dry-run"], ["outputs", "dry_run", "as"]),
      (["evaluate", model, "--text", text], ["source", "text", "context", "tokens_scored", "results"]),
      (
        ["compare", model, model, "--text", text, "--format", "mxint4", "--points", "3"],
        ["start", "text", "context", "tokens_scored", "tensors", "basin_rise", "candidates", "rank_correlation"]
      ),
      (["generate", model, "--prompt", "the", "--max-tokens", "4"], ["prompt", "text", "tokens", "ending"]),
      (["inspect", model], ["kind", "model", "tensors", "formats"]),
      (["inspect", scratch("anchor")], ["kind", "format", "planes", "formats"]),
      (["inspect", scratch("t.bin")], ["kind", "tokens"]),
      (["inspect", scratch("run")], ["kind", "summary", "models"]),
      (["verify", scratch("anchor")], ["ok", "parts"]),
      (["doctor"], ["kernel_table", "openblas_kernel", "mpi", "ranks", "warnings"]),
      (["report", scratch("run")], ["steps", "last_loss", "losses"]),
    ]
    for (arguments, keys) in commands {
      let result = try CommandLineTool.run(arguments + ["--json"])
      #expect(result.status == 0 && result.errors.isEmpty, "\(arguments): \(result)")
      let object = try result.object()
      for key in keys { #expect(object[key] != nil, "\(arguments[0]): no \(key)") }
      #expect(result.output.hasSuffix("\n") && result.output.filter { $0 == "\n" }.count == 1, "one line: \(arguments)")
    }
  }

  @Test func evaluateGivesTheObjectOfTheContract() throws {
    let result = try run("evaluate", model, "--text", text, "--format", "MXINT4,fp32", "--context", "32", "--against", model, "--json")
    let object = try result.object()
    #expect(Set(object.keys) == ["source", "text", "context", "tokens_scored", "results"])
    #expect(object["text"] as? String == text && object["context"] as? Int == 32)
    #expect(object["tokens_scored"] as? Int == 900 / 32 * 31)
    let results = try #require(object["results"] as? [[String: Any]])
    #expect(results.map { $0["format"] as? String } == ["fp32", "mxint4"])
    for result in results {
      #expect(
        Set(result.keys)
          == ["format", "nll", "perplexity", "bits_per_weight", "kl", "same_top", "kl_p99", "kl_max"])
    }
    #expect(results.map { $0["bits_per_weight"] as? Double } == [32, 4.25])
    #expect(results[0]["kl"] as? Double == 0 && results[0]["same_top"] as? Double == 1)
    #expect(results[0]["kl_p99"] as? Double == 0 && results[0]["kl_max"] as? Double == 0)
    let figures = try ["kl", "kl_p99", "kl_max"].map { try #require(results[1][$0] as? Double) }
    #expect(0 < figures[0] && figures[0] < figures[1] && figures[1] <= figures[2])
  }

  @Test func severalTextsAreOneStreamAndTokenFilesGiveTheSameFigures() throws {
    _ = try run("prepare", "--model", model, "--text", text, text, "--out", scratch("t.bin"))
    let texts = try run("evaluate", model, "--text", text, text, "--json").object()
    let tokens = try run("evaluate", model, "--text", scratch("t.bin"), "--json").object()
    #expect(texts["text"] as? [String] == [text, text] && tokens["text"] as? String == scratch("t.bin"))
    #expect(texts["tokens_scored"] as? Int == 1800 / 64 * 63)
    #expect(NSArray(array: texts["results"] as? [Any] ?? []).isEqual(to: tokens["results"] as? [Any] ?? []))
  }

  @Test func aFigureDoesNotDependOnTheBatch() throws {
    let figures = try [1, 3, 14].map { batch -> Double in
      let object = try run("evaluate", model, "--text", text, "--batch", "\(batch)", "--json").object()
      return try #require((object["results"] as? [[String: Any]])?.first?["nll"] as? Double)
    }
    #expect(abs(figures[0] - figures[1]) < 1e-6 && abs(figures[0] - figures[2]) < 1e-6, "\(figures)")
  }

  @Test func anAnchorSlicesOnTheFlyToWhatConvertWrites() throws {
    _ = try run("convert", model, "--to", "mxint8", "--out", scratch("anchor"))
    _ = try run("convert", scratch("anchor"), "--to", "mxint3,mxint5", "--out", scratch("low"))
    _ = try run("convert", scratch("anchor"), "--to", "mxint3", "--out", scratch("dense"), "--as", "dense")
    func nll(_ source: String, _ format: String?) throws -> Double {
      let result = try CommandLineTool.run(
        ["evaluate", source, "--text", text, "--json"] + (format.map { ["--format", $0] } ?? []))
      return try #require((result.object()["results"] as? [[String: Any]])?.first?["nll"] as? Double, "\(result)")
    }
    let onTheFly = try nll(scratch("anchor"), "mxint3")
    #expect(try nll(scratch("low/mxint3"), nil) == onTheFly)
    #expect(try nll(scratch("dense"), nil) == onTheFly)
    #expect(try nll(scratch("anchor"), nil) != onTheFly)
  }

  @Test func theSameSeedGivesTheSameText() throws {
    func text(_ seed: String) throws -> String {
      try run("generate", model, "--prompt", "the", "--max-tokens", "20", "--seed", seed, "--json").object()["text"] as? String ?? ""
    }
    #expect(try text("1") == text("1"))
    #expect(try text("1") != text("2"))
  }

  @Test func reportsGoIntoDocuments() throws {
    let record = try run("evaluate", model, "--text", text, "--format", "fp32,mxint4", "--json").output
    try scratch.write(record, to: "base.json")
    try scratch.write("a\n<!-- t -->\n<!-- /t -->\nb\n", to: "README.md")
    let result = try CommandLineTool.run([
      "report", "--title", "T", "--column", "rounding = only=\(scratch("base.json"))", "--into", scratch("README.md"),
      "--marker", "t", "--quiet",
    ])
    #expect(result.status == 0 && result.errors.isEmpty && result.output.contains("rounding = only"))
    let document = try scratch.text("README.md")
    #expect(document.hasPrefix("a\n<!-- t -->\n**T**\n\n| format") && document.hasSuffix("\n<!-- /t -->\nb\n"))
    #expect(document.contains("| mxint4 |"))
  }

  @Test func aRunHasASummaryAndACurve() throws {
    try scratch.write(
      (1...5).map { #"{"step":\#($0),"loss":\#(5 - $0),"tokens":\#($0 * 8),"format":"mxint4"}"# + "\n" }.joined(),
      to: "run/metrics.jsonl")
    let result = try CommandLineTool.run(["report", scratch("run"), "--svg"])
    #expect(result.status == 0 && result.output.contains("mxint4 4.0000 at first, 0.0000 at last"), "\(result)")
    #expect(result.errors == "note: wrote \(scratch("run"))/loss.svg\n")
    #expect(try scratch.text("run/loss.svg").contains("<polyline"))
  }

  @Test func quietIsQuiet() throws {
    try scratch.write(#"{"step":1,"loss":3}"# + "\n", to: "run/metrics.jsonl")
    try TinyModel.write(to: scratch("run/checkpoints/step-000001"))
    let loud = try CommandLineTool.run(["evaluate", scratch("run"), "--text", text])
    #expect(loud.status == 0 && loud.errors.contains("is a run directory: using"), "\(loud)")
    let quiet = try CommandLineTool.run(["evaluate", scratch("run"), "--text", text, "-q"])
    #expect(quiet.status == 0 && quiet.errors.isEmpty && quiet.output == loud.output)
  }

  @Test func inspectListsEveryTensorWhenAsked() throws {
    let lines = try run("inspect", model, "--tensors").output.split(separator: "\n")
    for (name, _) in TinyModel.tensors { #expect(lines.contains { $0.hasPrefix(name + " ") }, "\(name)") }
  }
}
