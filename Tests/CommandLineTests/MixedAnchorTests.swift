import Checkpoints
import Foundation
import Testing

/// Every command on an anchor whose tensors are in two formats.
@Suite struct MixedAnchorTests {
  let scratch: Scratch
  let anchor: String
  let text: String

  init() throws {
    scratch = try Scratch()
    anchor = scratch("anchor")
    text = scratch("text.txt")
    try TinyModel.write(to: scratch("model"))
    try scratch.write(String(repeating: "the quick brown fox jumps over the lazy dog. ", count: 12), to: "text.txt")
    try write(anchor, scaleRule: "fitted")
  }

  /// Feed-forward in 2 bits, attention in 8.
  private func write(_ path: String, scaleRule: String) throws {
    let writer = try ContainerWriter(directory: path, format: "mxint2", scaleRule: scaleRule)
    for name in ["config.json", "tokenizer.json"] {
      try writer.addSidecar(name: name, bytes: Array(scratch.text("model/" + name).utf8))
    }
    let source = try SafeTensorsFile(scratch("model/model.safetensors"))
    for (name, shape) in TinyModel.tensors {
      let count = shape.reduce(1, *)
      guard name.contains("_proj") else {
        let values = try source.read(name)
        try writer.addDense(name: name, shape: shape, values: values.span)
        continue
      }
      let isLow = name.contains("mlp")
      var codes: [UInt8] = []
      for index in 0..<count {
        let code: Int = isLow ? index % 3 - 1 : index * 7 % 255 - 127
        codes.append(UInt8(bitPattern: Int8(code)))
      }
      let blocks: Int = (shape[1] + 31) / 32
      let scales = [UInt8](repeating: 124, count: shape[0] * blocks)
      try writer.addPacked(
        name: name, shape: shape, format: isLow ? "mxint2" : "mxint8", rows: 0..<shape[0], codes: codes.span,
        scales: scales.span)
    }
    try writer.commit()
  }

  private func run(_ arguments: String..., location: SourceLocation = #_sourceLocation) throws -> CommandLineTool.Result {
    let result = try CommandLineTool.run(arguments)
    #expect(result.status == 0 && result.errors.isEmpty, "\(arguments): \(result)", sourceLocation: location)
    return result
  }

  private func refused(_ words: String, _ arguments: String...) throws {
    let result = try CommandLineTool.run(arguments)
    #expect(result.status != 0 && result.errors.contains(words), "\(arguments): \(result)")
  }

  @Test func inspectCountsTheFormats() throws {
    let object = try run("inspect", anchor, "--json").object()
    #expect(object["format"] as? String == "mixed mxint2-mxint8" && object["scale_rule"] as? String == "fitted")
    let shares = try #require(object["stored_formats"] as? [[String: Any]])
    #expect(shares.map { $0["format"] as? String } == ["mxint2", "mxint8"])
    #expect(shares.map { $0["tensors"] as? Int } == [3, 4] && shares.map { $0["weights"] as? Int } == [6144, 4096])
    let sizes = try #require(object["formats"] as? [[String: Any]])
    #expect(sizes.map { $0["format"] as? String } == ["mixed mxint2-mxint8"])
    #expect(sizes[0]["bits_per_weight"] as? Double == (6144 * 2.25 + 4096 * 8.25) / 10240)
    let text = try run("inspect", anchor).output
    for words in ["scales fitted by a solver", "mxint2: 3 tensors, 6,144 weights", "nothing: use it as stored"] {
      #expect(text.contains(words), "\(text)")
    }
    #expect(try run("verify", anchor).output.contains("anchor in mixed mxint2-mxint8"))
  }

  @Test func evaluateAndGenerateUseItAsStored() throws {
    for options in [[], ["--format", "stored"]] {
      let result = try CommandLineTool.run(["evaluate", anchor, "--text", text, "--json"] + options)
      let results = try #require(result.object()["results"] as? [[String: Any]], "\(result)")
      #expect(results.count == 1 && results[0]["format"] as? String == "mixed mxint2-mxint8")
      #expect(results[0]["bits_per_weight"] as? Double == (6144 * 2.25 + 4096 * 8.25) / 10240)
    }
    let text = try run("generate", anchor, "--prompt", "the", "--max-tokens", "4", "--json").object()
    #expect(text["method"] as? String == "as stored in mixed mxint2-mxint8")
    try refused("of tensor 'model.layers.0.", "evaluate", anchor, "--text", self.text, "--format", "mxint8")
    try refused("its own format is mixed mxint2-mxint8", "evaluate", anchor, "--text", self.text, "--format", "fp32")
    try write(scratch("floor"), scaleRule: "floor")
    let cut = try run("evaluate", scratch("floor"), "--text", self.text, "--format", "stored,mxint2", "--json").object()
    #expect((cut["results"] as? [[String: Any]])?.map { $0["format"] as? String } == ["mixed mxint2-mxint8", "mxint2"])
  }

  @Test func convertKeepsItOrWritesItsValues() throws {
    let plan = try run("convert", anchor, "--to", "stored", "--out", scratch("copy"), "--json").object()
    let output = try #require((plan["outputs"] as? [[String: Any]])?.first)
    #expect(output["format"] as? String == "mixed mxint2-mxint8" && output["quantized_tensors"] as? Int == 7)
    _ = try run("convert", anchor, "--to", "stored", "--as", "dense", "--out", scratch("dense"))
    func nll(_ source: String) throws -> Double? {
      let object = try run("evaluate", source, "--text", text, "--json").object()
      return (object["results"] as? [[String: Any]])?.first?["nll"] as? Double
    }
    let stored = try nll(anchor)
    #expect(try stored != nil && nll(scratch("copy")) == stored && nll(scratch("dense")) == stored)
    try refused("written alone", "convert", anchor, "--to", "stored,mxint2", "--out", scratch("x"))
    try refused("stored in full precision", "convert", scratch("model"), "--to", "stored", "--out", scratch("x"))
  }

  @Test func trainingStartsFromIt() throws {
    try scratch.write(
      """
      model: {path: \(anchor)}
      data: {train: [\(text)], context: 16}
      training: {steps: 2, batch: 2, lanes: 2}
      logging: {directory: \(scratch("run"))}
      """, to: "run.yaml")
    let result = try CommandLineTool.run(["train", "--config", scratch("run.yaml")])
    #expect(result.status == 0, "\(result)")
    #expect(FileManager.default.fileExists(atPath: scratch("run/metrics.jsonl")))
  }
}
