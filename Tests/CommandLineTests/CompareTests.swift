import Checkpoints
import Foundation
import Testing

/// `mfqat compare` and the questions of `mfqat evaluate`.
@Suite struct CompareTests {
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

  private func object(_ arguments: [String], location: SourceLocation = #_sourceLocation) throws -> [String: Any] {
    let result = try CommandLineTool.run(arguments + ["--json", "-q"])
    #expect(result.status == 0 && result.errors.isEmpty, "\(arguments): \(result)", sourceLocation: location)
    return try result.object()
  }

  private func refused(
    _ arguments: [String], status: Int32 = 1, _ parts: String..., location: SourceLocation = #_sourceLocation
  ) throws {
    let result = try CommandLineTool.run(arguments)
    #expect(result.status == status && !result.isSignal && result.output.isEmpty, "\(result)", sourceLocation: location)
    #expect(result.errors.hasPrefix("error: "), "\(result.errors)", sourceLocation: location)
    for part in parts {
      #expect(result.errors.contains(part), "'\(part)' in: \(result.errors)", sourceLocation: location)
    }
  }

  private func figure(_ arguments: [String], _ key: String) throws -> Double {
    let results = try #require(object(arguments)["results"] as? [[String: Any]])
    return try #require(results.first?[key] as? Double)
  }

  // MARK: compare

  @Test func theObjectOfAComparison() throws {
    _ = try CommandLineTool.run(["convert", model, "--to", "mxint8", "--out", scratch("anchor")])
    let object = try object(
      ["compare", model, model, scratch("anchor"), model, "--text", text, "--format", "mxint3", "--context", "32"])
    #expect(
      Set(object.keys) == [
        "start", "text", "context", "tokens_scored", "tensors", "basin_rise", "candidates", "rank_correlation",
      ])
    #expect(object["tensors"] as? Int == 7 && object["tokens_scored"] as? Int == 900 / 32 * 31)
    #expect(object["rank_correlation"] as? Double != nil)
    let start = try #require(object["start"] as? [String: Any])
    #expect(Set(start.keys) == ["source", "nll", "perplexity"])
    let exact = try figure(["evaluate", model, "--text", text, "--context", "32"], "nll")
    #expect(start["nll"] as? Double == exact)
    let candidates = try #require(object["candidates"] as? [[String: Any]])
    #expect(
      candidates.map { $0["method"] as? String } == ["rounded directly", "sliced from mxint8", "rounded directly"])
    for (index, candidate) in candidates.enumerated() {
      #expect(
        Set(candidate.keys) == [
          "source", "format", "method", "bits_per_weight", "nll", "perplexity", "distance", "model_distance",
          "local_error", "line", "basin",
        ])
      let line = try #require(candidate["line"] as? [[String: Double]])
      #expect(line.map { $0["t"] } == (0...10).map { Double($0) / 10 })
      #expect(line[0]["nll"] == exact && line[10]["nll"] == candidate["nll"] as? Double)
      let source = index == 1 ? scratch("anchor") : model
      #expect(
        line[10]["nll"]
          == (try figure(["evaluate", source, "--text", text, "--context", "32", "--format", "mxint3"], "nll")))
      let distance = try #require(candidate["distance"] as? Double)
      #expect(0.05 < distance && distance < 0.5 && candidate["model_distance"] as? Double ?? 1 < distance)
      let basin = try #require(candidate["basin"] as? [String: Any])
      #expect(Set(basin.keys) == ["t", "radius", "left"])
    }
  }

  @Test func theStartItselfIsNoDistanceAway() throws {
    let object = try object([
      "compare", model, model, "--text", text, "--points", "2", "--beyond", "1.5", "--activations", "mxint8",
    ])
    let candidate = try #require((object["candidates"] as? [[String: Any]])?.first)
    #expect(candidate["distance"] as? Double == 0 && candidate["local_error"] as? Double == 0)
    #expect((candidate["basin"] as? [String: Any])?["left"] as? Bool == false)
    #expect(object["activations"] as? String == "mxint8" && object["rank_correlation"] is NSNull)
    let plain = try CommandLineTool.run(["compare", model, model, "--text", text, "--points", "2"]).output
    #expect(plain.contains("start  ") && plain.contains(">= 0.00000") && plain.contains("needs 3 candidates"))
  }

  @Test func usage() throws {
    try refused(["compare", model, "--text", text], status: 2, "<candidate>")
    try refused(["compare", model, model], status: 2, "--text")
    try refused(["compare", model, model, "--text", text, "--points", "1"], status: 2, "2 to 101 points")
    try refused(["compare", model, model, "--text", text, "--beyond", "2"], status: 2, "expected 1 to 1.5")
    try refused(["compare", model, model, "--text", text, "--basin-rise", "-1"], status: 2, "--basin-rise")
    try refused(["compare", model, model, "--text", text, "--context", "65"], "--context 65", "attends to 64")
    try refused(["compare", model, model, "--text", text, "--context", "32", "--max-tokens", "31"], "31 tokens")
  }

  @Test func modelsInOtherCoordinates() throws {
    let hint = "Give a start in the same coordinates"
    try TinyModel.write(to: scratch("other"))
    let configuration = try scratch.text("other/config.json")
    try scratch.write(configuration.replacing("1e-05", with: "1e-06"), to: "other/config.json")
    try refused(["compare", model, scratch("other"), "--text", text], "config.json computes otherwise", hint)

    let anchor = scratch("anchor")
    _ = try CommandLineTool.run(["convert", model, "--to", "mxint8", "--out", anchor])
    try markReparameterised(anchor)
    try refused(["compare", model, anchor, "--text", text], anchor + ": its weights are reparameterised", hint)
    try refused(["compare", anchor, model, "--text", text], anchor + ": its weights are reparameterised", hint)
    // A slice remembers.
    _ = try CommandLineTool.run(["convert", anchor, "--to", "mxint4", "--out", scratch("slice")])
    try refused(["compare", model, scratch("slice"), "--text", text], "its weights are reparameterised", hint)
    let both = try CommandLineTool.run(["compare", anchor, anchor, "--text", text, "--points", "2"])
    #expect(both.status == 0 && both.errors.contains("all models are reparameterised"), "\(both)")
  }

  /// As calibration marks an anchor whose weights it has rotated or scaled.
  private func markReparameterised(_ anchor: String) throws {
    let file = anchor + "/" + ContainerManifest.fileName
    var manifest = try #require(try JSONScanner.parse(file: file).object)
    var metadata = manifest["metadata"]?.object ?? JSONObject()
    metadata["calibration"] = ["reparameterised": true]
    manifest["metadata"] = .object(metadata)
    manifest["hash"] = nil
    manifest["hash"] = .string(ContentHash(JSONValue.object(manifest).serialized()).description)
    try Data(JSONValue.object(manifest).serialized()).write(to: URL(fileURLWithPath: file))
  }

  // MARK: Questions and activations

  private static let questions = """
    {"prompt": "the quick", "choices": [" brown", " fox", "s"], "answer": 0}

    {"prompt": "over the", "choices": [" lazy", " dog"], "answer": 1}
    {"prompt": "", "choices": ["a", "b"], "answer": 1}

    """

  @Test func answersAndFlips() throws {
    try scratch.write(Self.questions.replacing(#""prompt": """#, with: #""prompt": "x""#), to: "q.jsonl")
    let alone = try object(["evaluate", model, "--choices", scratch("q.jsonl"), "--format", "mxint2"])
    #expect(Set(alone.keys) == ["source", "text", "context", "tokens_scored", "choices", "results"])
    #expect((alone["text"] as? [Any])?.isEmpty == true && alone["tokens_scored"] as? Int == 0)
    let about = try #require(alone["choices"] as? [String: Any])
    #expect(about["questions"] as? Int == 3 && about["merged_prompts"] as? Int == 0)
    #expect(about["score"] as? String == "sum")
    let result = try #require((alone["results"] as? [[String: Any]])?.first)
    #expect(result["nll"] is NSNull && result["perplexity"] is NSNull)
    let answers = try #require(result["choices"] as? [String: Any])
    #expect(
      Set(answers.keys) == ["accuracy", "flips", "all_flips", "correct_to_incorrect", "incorrect_to_correct"])
    #expect(answers["accuracy"] as? Double != nil && answers["flips"] is NSNull)

    let both = try object([
      "evaluate", model, "--text", text, "--choices", scratch("q.jsonl"), "--choice-score", "mean", "--against", model,
      "--format", "fp32,mxint2",
    ])
    let results = try #require(both["results"] as? [[String: Any]])
    #expect(results.allSatisfy { $0["nll"] as? Double != nil })
    let same = try #require(results[0]["choices"] as? [String: Any])
    #expect(same["flips"] as? Double == 0 && same["all_flips"] as? Double == 0)
    #expect((both["choices"] as? [String: Any])?["score"] as? String == "mean")
    let table = try CommandLineTool.run([
      "evaluate", model, "--choices", scratch("q.jsonl"), "--against", model,
    ]).output
    #expect(table.contains("accuracy   flips  all flips") && table.contains("3 questions"))
    #expect(!table.contains("perplexity"))
  }

  @Test func questionsThatAreNone() throws {
    let file = scratch("q.jsonl")
    func refusal(_ line: String, _ parts: String, location: SourceLocation = #_sourceLocation) throws {
      try scratch.write("\n" + line + "\n", to: "q.jsonl")
      try refused(["evaluate", model, "--choices", file], "q.jsonl", parts, location: location)
    }
    try refusal(#"{"prompt": "p", "choices": [], "answer": 0}"#, "line 2: no choices")
    try refusal(#"{"prompt": "p", "choices": ["a", "b"], "answer": 2}"#, "line 2: the answer is 2 of 2 choices")
    try refusal(#"{"prompt": "p", "choices": ["a", "b"], "answer": "b"}"#, #""answer" is a string"#)
    try refusal("", "no questions")
    try refusal("{", "JSON")
    let long = String(repeating: "a", count: 64)
    try refusal(#"{"prompt": "\#(long)", "choices": ["a", "b"], "answer": 0}"#, "65 tokens, the context 64")
    try scratch.write(Self.questions, to: "q.jsonl")
    try refused(["evaluate", model, "--choices", file], "question 3", "the prompt is empty")
    try refused(["evaluate", model, "--choices", scratch("none")], "none", "there is no such file")
    try refused(["evaluate", model, "--text", text, "--choice-score", "mean"], status: 2, "--choices FILE")
    try refused(["evaluate", model, "--choices", file, "--choice-score", "max"], status: 2, "sum", "mean")
    try refused(["evaluate", model], status: 2, "--text FILE, or --choices FILE")
  }

  @Test func activationsAreRoundedAndSaidToBe() throws {
    let plain = try figure(["evaluate", model, "--text", text], "nll")
    let rounded = try object(["evaluate", model, "--text", text, "--activations", "MXINT4", "--against", model])
    #expect(rounded["activations"] as? String == "mxint4")
    let result = try #require((rounded["results"] as? [[String: Any]])?.first)
    #expect(result["nll"] as? Double != plain && result["kl"] as? Double ?? 0 > 0)
    let table = try CommandLineTool.run(["evaluate", model, "--text", text, "--activations", "mxint4"]).output
    #expect(table.hasSuffix("Inputs of linear layers are rounded to mxint4.\n"))
    try refused(["evaluate", model, "--text", text, "--activations", "int4"], status: 2, "mxint4")

    let prompt = ["generate", model, "--prompt", "the", "--temperature", "0", "--max-tokens", "20"]
    let own = try object(prompt), other = try object(prompt + ["--activations", "mxint2"])
    #expect(own["activations"] == nil && other["activations"] as? String == "mxint2")
    #expect(own["text"] as? String != other["text"] as? String)
  }
}
