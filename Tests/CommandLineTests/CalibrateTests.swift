import Foundation
import Testing

/// `mfqat calibrate` as people start it: by itself, under mpirun, interrupted; and what other commands do with anchors.
@Suite(.timeLimit(.minutes(2))) struct CalibrateTests {
  let scratch: Scratch
  let model: String
  let text: String

  init() throws {
    scratch = try Scratch()
    model = scratch("model")
    text = scratch("text.txt")
    try TinyModel.write(to: model)
    // 2250 tokens are 70 windows of 32.
    try scratch.write(String(repeating: "the quick brown fox jumps over the lazy dog. ", count: 50), to: "text.txt")
  }

  private func arguments(_ method: String, _ format: String, out: String, _ more: [String] = []) -> [String] {
    ["calibrate", "--model", model, "--method", method, "--format", format, "--out", scratch(out)]
      + (["rtn", "quarot", "hadamard"].contains(method) ? [] : ["--text", text])
      + ["--sequences", "6", "--context", "32"] + more
  }

  private func run(
    _ arguments: [String], location: SourceLocation = #_sourceLocation
  ) throws -> CommandLineTool.Result {
    let result = try CommandLineTool.run(arguments)
    #expect(result.status == 0 && !result.isSignal, "\(arguments): \(result)", sourceLocation: location)
    return result
  }

  private func refused(
    _ arguments: [String], status: Int32 = 1, _ parts: String..., location: SourceLocation = #_sourceLocation
  ) throws {
    let result = try CommandLineTool.run(arguments)
    #expect(result.status == status && !result.isSignal && result.output.isEmpty, "\(result)", sourceLocation: location)
    #expect(result.errors.hasPrefix("error: "), "\(result.errors)", sourceLocation: location)
    #expect(result.errors.ranges(of: "error: ").count == 1, "\(result.errors)", sourceLocation: location)
    for part in parts {
      #expect(result.errors.contains(part), "'\(part)' in: \(result.errors)", sourceLocation: location)
    }
    for dump in ["Fatal error", "Error(", "Swift.", "Optional(", "nil"] {
      #expect(!result.errors.contains(dump), "\(result.errors)", sourceLocation: location)
    }
  }

  private func files(_ name: String) throws -> [String: Data] {
    var files: [String: Data] = [:]
    for file in try FileManager.default.subpathsOfDirectory(atPath: scratch(name)) {
      files[file] = try? Data(contentsOf: URL(fileURLWithPath: scratch(name + "/" + file)))
    }
    #expect(files["config.json"] != nil)
    return files
  }

  // MARK: Results

  @Test func anObjectOfKnownKeys() throws {
    let result = try run(arguments("awq+gptq", "mxint4", out: "a", ["--json", "--quiet"]))
    #expect(result.errors.isEmpty && result.output.filter { $0 == "\n" }.count == 1)
    let object = try result.object()
    #expect(
      Set(object.keys) == [
        "out", "settings", "sample", "reparameterised", "notes", "products", "bits_per_weight", "ranks", "seconds",
        "memory", "peak_bytes", "coordinates",
      ])
    #expect(object["out"] as? String == scratch("a") && object["reparameterised"] as? Bool == true)
    #expect(object["bits_per_weight"] as? Double == 4.25 && object["ranks"] as? Int == 1)
    #expect((object["sample"] as? String)?.hasPrefix("6 x 32 tokens, seed 0, of 2250 tokens") == true)
    let settings = try #require(object["settings"] as? [String: Any])
    #expect(settings["method"] as? String == "awq+gptq" && settings["format"] as? String == "mxint4")
    let products = try #require(object["products"] as? [[String: Any]])
    #expect(products.count == 4)
    for product in products {
      for key in [
        "name", "format", "weight_error", "output_error", "nearest_error", "damping", "damping_raises", "dead_channels",
      ] {
        #expect(product[key] != nil, "\(key) in \(product)")
      }
    }
    #expect(products.compactMap { $0["scaling_candidate"] }.count >= 3)
  }

  @Test func aTableForPeopleAndLinesOfProgress() throws {
    let result = try run(arguments("gptq", "mxint3", out: "a"))
    #expect(result.output.contains("model.layers.0.mlp.down_proj.weight") && result.output.contains("bits a weight"))
    #expect(result.errors.contains("(3 of 3)") && result.errors.contains("(nearest "), "\(result.errors)")
    let rounded = try run(arguments("rtn", "mxint3", out: "b", ["--quiet"]))
    #expect(rounded.errors.isEmpty && rounded.output.contains(" - "), "\(rounded)")
  }

  @Test func roundingAloneNeedsNoTextAndIsWhatConvertWrites() throws {
    _ = try run(arguments("rtn", "mxint8", out: "a"))
    _ = try run(["convert", model, "--to", "mxint8", "--out", scratch("b")])
    func figures(_ name: String) throws -> [Double] {
      let object = try run(["evaluate", scratch(name), "--text", text, "--format", "mxint8,mxint4", "--json"]).object()
      return (object["results"] as? [[String: Any]] ?? []).compactMap { $0["nll"] as? Double }
    }
    #expect(try figures("a") == figures("b") && figures("a").count == 2)
  }

  @Test func textsLinesOfJSONAndTokensAreOneThing() throws {
    let words = try scratch.text("text.txt")
    try scratch.write("{\"text\": \"\(words)\"}\n", to: "text.jsonl")
    _ = try run(["prepare", "--model", model, "--text", text, "--out", scratch("t.bin")])
    let products = try [text, scratch("text.jsonl"), scratch("t.bin")].enumerated().map { i, file in
      let arguments = arguments("gptq", "mxint4", out: "a\(i)", ["--json"]).map { $0 == text ? file : $0 }
      return try #require(run(arguments).object()["products"] as? [[String: Any]])
    }
    #expect(products[0].count == 4)
    for other in products { #expect(NSArray(array: other).isEqual(to: products[0]), "\(other)") }
  }

  // MARK: Other commands

  @Test(arguments: [("quarot", "mxint8"), ("mr-gptq", "mxint4"), ("mr-gptq", "mxint8")])
  func anchorsServeEveryCommand(_ method: String, _ format: String) throws {
    _ = try run(arguments(method, format, out: "a"))
    let anchor = scratch("a")
    func nll(_ path: String, _ more: String...) throws -> Double {
      let object = try run(["evaluate", path, "--text", text, "--json"] + more).object()
      return try #require((object["results"] as? [[String: Any]])?.first?["nll"] as? Double)
    }
    let (source, calibrated) = (try nll(model), try nll(anchor))
    #expect(abs(calibrated - source) < (format == "mxint8" ? 0.01 : 0.3), "\(calibrated), fp32 \(source)")
    let generated = try run(["generate", anchor, "--prompt", "the", "--max-tokens", "6", "--json"]).object()
    #expect(generated["tokens"] != nil)
    #expect(try run(["verify", anchor, "--json"]).object()["ok"] as? Bool == true)
    let inspected = try run(["inspect", anchor, "--json"]).object()
    #expect(inspected["kind"] as? String == "anchor" && inspected["format"] as? String == format)
    // As dense weights, into which online rotations are folded, it is the same function.
    _ = try run(["convert", anchor, "--to", format, "--out", scratch("dense"), "--as", "dense"])
    #expect(abs(try nll(scratch("dense")) - calibrated) < 1e-5)
    if format == "mxint8" {
      _ = try run(["convert", anchor, "--to", "mxint4", "--out", scratch("low")])
      #expect(try nll(scratch("low")) == nll(anchor, "--format", "mxint4"))
    } else {
      try refused(["convert", anchor, "--to", "mxint2", "--out", scratch("low")], "mxint4 is no anchor")
    }
  }

  // MARK: Refusals

  @Test func methodsThatAreNone() throws {
    try refused(arguments("gtpq", "mxint4", out: "a"), "'gtpq' is no method", "the nearest is 'gptq'", "smoothquant")
    try refused(arguments("gptq+gptq-block", "mxint4", out: "a"), "two ways of rounding", "gptq and gptq-block")
    try refused(arguments("awq+smoothquant", "mxint4", out: "a"), "scales twice")
    try refused(arguments("quarot+mr-gptq", "mxint4", out: "a"), "rotates twice")
    try refused(arguments("gptq+", "mxint4", out: "a"), "'' is no method")
  }

  @Test func textsAndFormats() throws {
    let plain = ["calibrate", "--model", model, "--out", scratch("a")]
    try refused(plain + ["--format", "mxint4"], "--text", "gptq looks at text")
    try refused(plain + ["--format", "mxint4", "--text", text], "text.txt: has 35 windows of 64", "128 sequences")
    try refused(arguments("gptq", "mxint4,mxint3", out: "a"), "--format mxint4,mxint3", "--compare")
    try refused(arguments("gptq", "mxin4", out: "a"), "mxin4", "mxint4")
    try refused(arguments("gptq", "mxint4", out: "a", ["--context", "65"]), "--context 65", "attends to 64")
    try refused(arguments("gptq", "mxint4", out: "a", ["--context", "1"]), status: 2, "at least 2 tokens")
    try refused(arguments("gptq", "mxint4", out: "a", ["--sequences", "0"]), status: 2, "--sequences 0")
    try refused(arguments("gptq", "mxint8", out: "a", ["--scales", "mse"]), "mxint8 is an anchor")
    try refused(arguments("gptq", "mxint4", out: "a", ["--scales", "best"]), "--scales best", "better-of-two")
    try refused(arguments("gptq", "mxint8", out: "a", ["--targets", "mxint4:x"]), "--targets mxint4:x", "weight")
    try refused(arguments("gptq", "mxint4", out: "a", ["--round-inputs"]), "--activations")
    try refused(arguments("gptq", "mxint4", out: "a", ["--exclude", "**.k_proj.weight"]), "treated alike")
    try refused(arguments("gptq", "mxint4", out: "a", ["--compare", "rtn"]), status: 2, "--evaluate")
    try scratch.write("", to: "empty.txt")
    try refused(plain + ["--format", "mxint4", "--text", scratch("empty.txt")], "empty.txt", "the text is empty")
    #expect(!FileManager.default.fileExists(atPath: scratch("a")))
    #expect(!FileManager.default.fileExists(atPath: scratch("a.calibration")))
  }

  @Test func outputsThatExist() throws {
    try scratch.write("kept", to: "a/file")
    try refused(arguments("gptq", "mxint4", out: "a", ["-q"]), "exists already", "nothing is overwritten")
    try refused(arguments("rtn", "mxint4", out: "text.txt"), "text.txt", "exists already")
    #expect(try scratch.text("a/file") == "kept")
  }

  @Test func modelsWithoutNumbers() throws {
    try TinyModel.write(to: scratch("broken"), unusable: "model.layers.0.mlp.up_proj.weight")
    var arguments = arguments("gptq", "mxint4", out: "a", ["--quiet"])
    arguments[2] = scratch("broken")
    try refused(arguments, "model.layers.0.mlp.up_proj.weight", "NaN")
  }

  // MARK: Side by side

  private func compared(_ out: String, _ more: String...) -> [String] {
    ["calibrate", "--model", model, "--text", text, "--sequences", "6", "--context", "32", "--out", scratch(out)]
      + ["--compare", "rtn,gptq,mr-gptq", "--format", "mxint4,mxfp4", "--evaluate", text]
      + ["--evaluate-activations", "none,same"] + more
  }

  @Test func methodsSideBySide() throws {
    let table = try run(compared("c"))
    for word in ["Weights alone", "perplexity", "mxfp4", "mr-gptq", "made good"] {
      #expect(table.output.contains(word), "\(table)")
    }
    // What is finished is not calibrated again.
    let object = try run(compared("c", "--kl", "--json", "--quiet")).object()
    #expect(Set(object.keys) == ["source", "text", "context", "calibration", "tokens_scored", "results"])
    let results = try #require(object["results"] as? [[String: Any]])
    #expect(results.count == 1 + 2 * 3 * 2)
    #expect(results.map { $0["method"] as? String }.prefix(4) == ["-", "rtn", "rtn", "gptq"])
    #expect(results.dropFirst().allSatisfy { ($0["kl"] as? Double ?? -1) > 0 && $0["nll"] is Double })
    #expect(results.filter { $0["recovered"] != nil }.count <= 8 && results[0]["bits_per_weight"] as? Double == 32)
    #expect(FileManager.default.fileExists(atPath: scratch("c/mxfp4/gptq/config.json")))
  }

  @Test func whatIsComparedHasToBeWhatIsAskedFor() throws {
    _ = try run(compared("c", "--quiet"))
    var other = compared("c", "--quiet")
    other[other.firstIndex(of: "6")!] = "7"
    try refused(other, "c/mxint4/gptq", "calibrated from something else", "sample")
    try refused(compared("c", "--damping", "0.1", "--quiet"), "calibrated from something else", "damping")
    try refused(compared("d").map { $0 == "rtn,gptq,mr-gptq" ? "rtn,gptq,rtn" : $0 }, "named twice")
  }

  // MARK: Ranks

  static let mpirun = "/usr/bin/mpirun"

  private func onRanks(_ ranks: Int, _ arguments: [String]) throws -> CommandLineTool.Result {
    // `env` undoes what a test's thread blocks, `timeout` ends a hang.
    try CommandLineTool.run(
      program: "/usr/bin/env",
      ["--default-signal", "timeout", "--kill-after=5", "60", Self.mpirun]
        + (geteuid() == 0 ? ["--allow-run-as-root"] : [])
        + ["-n", "\(ranks)", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"]
        + [CommandLineTool.path] + arguments)
  }

  @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: mpirun), "needs mpirun"))
  func twoRanksGiveTheBytesOfOne() throws {
    _ = try run(arguments("quarot+awq+gptq", "mxint4", out: "one"))
    let two = try onRanks(2, arguments("quarot+awq+gptq", "mxint4", out: "two", ["--json"]))
    #expect(two.status == 0, "\(two)")
    #expect(try files("one") == files("two"))
    #expect(try two.object()["ranks"] as? Int == 2)
    #expect(two.errors.ranges(of: "(3 of 3)").count == 1, "\(two.errors)")
  }

  @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: mpirun), "needs mpirun"))
  func aComparisonOnTwoRanks() throws {
    func results(_ result: CommandLineTool.Result) throws -> [[String: Any]] {
      #expect(result.status == 0, "\(result)")
      let rows = try #require(result.object()["results"] as? [[String: Any]])
      return rows.map { row in row.filter { $0.key != "seconds" } }
    }
    let one = try results(run(compared("one", "--json"))), two = try results(onRanks(2, compared("two", "--json")))
    #expect(one.count == 13 && NSArray(array: one).isEqual(to: two), "\(one), \(two)")
  }

  @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: mpirun), "needs mpirun"))
  func oneRankSpeaksOfARefusal() throws {
    try TinyModel.write(to: scratch("huge"), scaling: ["model.layers.0.mlp.up_proj.weight": 1e30])
    for (model, words) in [(scratch("huge"), "input of down"), (scratch("none"), "no such file")] {
      var arguments = arguments("gptq", "mxint4", out: "a", ["--quiet"])
      arguments[2] = model
      let result = try onRanks(2, arguments)
      #expect(result.status == 1 && result.output.isEmpty, "\(result)")
      #expect(result.errors.contains(words) && result.errors.ranges(of: "error: ").count == 1, "\(result.errors)")
    }
  }

  // MARK: Interrupted

  @Test func ctrlCAndTheSameAgain() throws {
    try scratch.write(String(repeating: "the quick brown fox jumps over the lazy dog. ", count: 800), to: "long.txt")
    func arguments(_ out: String) -> [String] {
      ["calibrate", "--model", model, "--method", "smoothquant+upstream+gptq", "--format", "mxint4", "--text"]
        + [scratch("long.txt"), "--sequences", "500", "--context", "64", "--out", scratch(out)]
    }
    let output = try scratch.file("output"), errors = try scratch.file("errors")
    let process = CommandLineTool.process(CommandLineTool.path, arguments("a"))
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    // The embedding is finished, the layer is not.
    let embedding = scratch("a.calibration/unit-000")
    while process.isRunning && !FileManager.default.fileExists(atPath: embedding) { usleep(500) }
    process.interrupt()
    process.waitUntilExit()
    #expect(process.terminationReason == .exit && process.terminationStatus == 128 + SIGINT)
    #expect(try scratch.text("output").isEmpty)
    #expect(!FileManager.default.fileExists(atPath: scratch("a")))
    let again = try run(arguments("a"))
    #expect(again.errors.contains("done before"), "\(again.errors)")
    _ = try run(arguments("b"))
    #expect(try files("a") == files("b"))
    #expect(!FileManager.default.fileExists(atPath: scratch("a.calibration")))
  }
}
