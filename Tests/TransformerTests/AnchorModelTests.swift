import Checkpoints
import Formats
import Foundation
import Tensors
import Testing
import Transformer

@Suite struct AnchorModelTests {
  @Test func anyRowsAreReadAndDequantized() throws {
    let scratch = try AnchorScratch()
    try AnchorFixture.write(scratch("a"), rows: 7)
    let model = try AnchorModel(scratch("a"))
    #expect(model.layout == AnchorFixture.layout && model.sidecarNames == ["config.json"])
    #expect(model.storedFormat(of: "model.layers.0.mlp.up_proj.weight") == "mxint8")
    #expect(model.storedFormat(of: "model.norm.weight") == nil)
    for (_, spec) in model.layout.all {
      var expected = AnchorFixture.values(spec)
      if spec.role == .linear {
        let codes = AnchorFixture.codes(spec), scales = AnchorFixture.scales(spec)
        let blocks = PackedTensor.blockCount(spec.columns)
        expected = (0..<spec.rows).flatMap { row in
          ScalarCodec.dequantize(
            .init(
              codes: Array(codes[row * spec.columns..<(row + 1) * spec.columns]),
              scales: Array(scales[row * blocks..<(row + 1) * blocks])), from: .mxint8)
        }
      }
      for start in Set([0, 1, spec.rows / 2, spec.rows]) {
        for end in Set([start, min(start + 1, spec.rows), spec.rows]) {
          var values = [Float](repeating: .nan, count: (end - start) * spec.columns)
          var span = values.mutableSpan
          try model.read(spec, rows: start..<end, into: &span)
          #expect(values == Array(expected[start * spec.columns..<end * spec.columns]), "\(spec.name) \(start)..<\(end)")
        }
      }
    }
  }

  @Test func tensorsMustBeThoseOfTheConfiguration() throws {
    let scratch = try AnchorScratch()
    let json = AnchorFixture.json
    // (what the tensors are written for, what the configuration says)
    try AnchorFixture.write(scratch("missing"), json: json([("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3")]))
    anchorRefusal("'model.layers.2.self_attn.q_proj.weight' is missing") { _ = try AnchorModel(scratch("missing")) }
    try AnchorFixture.write(scratch("extra"), json: json([("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1")]))
    anchorRefusal("11 tensors have no place", "model.layers.1.") { _ = try AnchorModel(scratch("extra")) }
    try AnchorFixture.write(scratch("shape"), json: json([("\"intermediate_size\": 50", "\"intermediate_size\": 51")]))
    anchorRefusal("gate_proj", "[50, 40]", "[51, 40]") { _ = try AnchorModel(scratch("shape")) }
    try AnchorFixture.write(scratch("family"), json: json([("Qwen3ForCausalLM", "GPT2LMHeadModel")]))
    anchorRefusal("GPT2LMHeadModel", "not supported") { _ = try AnchorModel(scratch("family")) }

    let writer = try ContainerWriter(directory: scratch("bare"), format: "mxint8", scaleRule: "floor")
    try writer.commit()
    anchorRefusal("no config.json") { _ = try AnchorModel(scratch("bare")) }
    for (format, rule, word) in [("mxint9", "floor", "mxint9"), ("mxint8", "guess", "scale rule 'guess'")] {
      let writer = try ContainerWriter(directory: scratch(word), format: format, scaleRule: rule)
      try writer.addSidecar(name: "config.json", bytes: AnchorFixture.json())
      try writer.commit()
      anchorRefusal(word) { _ = try AnchorModel(scratch(word)) }
    }
  }

  @Test func codesThatTheFormatLacksAreRefused() throws {
    let scratch = try AnchorScratch()
    // The fixture's codes use all 8 bits: as mxint4 they are nonsense that hashes to itself.
    try AnchorFixture.write(scratch("a"), format: .mxint4)
    let model = try AnchorModel(scratch("a"))
    anchorRefusal("codes that mxint4 does not have") {
      try model.load(into: Parameters(model.configuration, in: Arena("test")))
    }
  }

  @Test func exportRefusesWhatNobodyCouldRead() throws {
    let scratch = try AnchorScratch()
    let layout = AnchorFixture.layout
    func write(_ name: String, _ sidecars: [(name: String, bytes: [UInt8])]) throws {
      try AnchorExport.write(directory: scratch(name), format: .mxint8, layout: layout, sidecars: sidecars) { export in
        for (_, spec) in layout.all {
          if spec.role == .linear {
            try export.addPacked(spec, codes: AnchorFixture.codes(spec).span, scales: AnchorFixture.scales(spec).span)
          } else {
            try export.addDense(spec, values: AnchorFixture.values(spec).span)
          }
        }
      }
    }
    anchorRefusal("no config.json") { try write("a", [("tokenizer.json", [])]) }
    let other = AnchorFixture.json([("\"vocab_size\": 33", "\"vocab_size\": 34")])
    anchorRefusal("other tensors") { try write("a", [("config.json", other)]) }
    #expect(!FileManager.default.fileExists(atPath: scratch("a")))
    let half = AnchorFixture.json([("\"torch_dtype\": \"float32\"", "\"dtype\": \"bfloat16\"")])
    try write("a", [("config.json", half), ("tokenizer.json", [1, 2, 3])])
    let model = try AnchorModel(scratch("a"))
    #expect(try model.sidecar("tokenizer.json") == [1, 2, 3])
    #expect(try JSONScanner.parse(model.sidecar("config.json"))["dtype"] == "float32")
    anchorRefusal("absent or empty") { try write("a", [("config.json", half)]) }
    // An error inside leaves nothing.
    struct Stop: Error {}
    #expect(throws: Stop.self) {
      try AnchorExport.write(
        directory: scratch("b"), format: .mxint8, layout: layout, sidecars: [("config.json", half)]
      ) { _ in throw Stop() }
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.path) == ["a"])
    // A configuration that says so already keeps its bytes.
    #expect(try ConfigurationText.inFloat32(AnchorFixture.json(), source: "x") == AnchorFixture.json())
  }

  @Test func mixedFormatsAreSlicedEachFromItsOwn() throws {
    let scratch = try AnchorScratch()
    let layout = AnchorFixture.layout
    let writer = try ContainerWriter(directory: scratch("mixed"), format: "mxint8", scaleRule: "floor")
    for (_, spec) in layout.all {
      if spec.role == .linear {
        let isLow = spec.name.contains("down_proj")
        let codes = AnchorFixture.codes(spec).map { isLow ? UInt8(bitPattern: Int8(bitPattern: $0) % 8) : $0 }
        try writer.addPacked(
          name: spec.name, shape: spec.shape, format: isLow ? "mxint4" : "mxint8", rows: 0..<spec.rows,
          codes: codes.span, scales: AnchorFixture.scales(spec).span)
      } else {
        try writer.addDense(name: spec.name, shape: spec.shape, values: AnchorFixture.values(spec).span)
      }
    }
    try writer.addSidecar(name: "config.json", bytes: AnchorFixture.json())
    try writer.commit()
    let model = try AnchorModel(scratch("mixed"))
    #expect(model.formatsThatCanBeCut == [.mxint4])
    let weights = try model.load(into: Parameters(model.configuration, in: Arena("test")), as: .mxint4)
    #expect(weights.label == "sliced from mixed mxint4-mxint8" && weights.quantizedTensors == 14)
    anchorRefusal("mxint4 can only be used as it is") {
      try model.load(into: Parameters(model.configuration, in: Arena("test")), as: .mxint2)
    }
  }

  @Test func sourcesAreRecognized() throws {
    let scratch = try AnchorScratch()
    try AnchorFixture.write(scratch("run/anchor"))
    #expect(try ModelSources.kind(of: scratch("run/anchor")) == .anchor)
    var notes: [String] = []
    let model = try ModelSources.open(scratch("run")) { notes.append($0) }
    #expect(model.path == scratch("run/anchor") && model is AnchorModel)
    #expect(notes == ["\(scratch("run")) is a run directory: using \(scratch("run/anchor"))"])

    // Without an anchor: latest, then the checkpoint of the highest step; unfinished ones do not count.
    try AnchorFixture.write(scratch("other/checkpoints/step-000100"))
    try AnchorFixture.write(scratch("other/checkpoints/step-000900"))
    try AnchorFixture.write(scratch("other/checkpoints/step-001000.tmp-1"))
    #expect(try ModelSources.kind(of: scratch("other")) == .run(model: scratch("other/checkpoints/step-000900")))
    try FileManager.default.createSymbolicLink(
      atPath: scratch("other/latest"), withDestinationPath: "checkpoints/step-000100")
    #expect(try ModelSources.open(scratch("other")).path == scratch("other/latest"))

    anchorRefusal("no such file", "Expected: a Hugging Face folder") { _ = try ModelSources.open(scratch("absent")) }
    try scratch.folder("empty")
    anchorRefusal("the folder is empty", "manifest.json") { _ = try ModelSources.open(scratch("empty")) }
    anchorRefusal("this is a file") { _ = try ModelSources.open(scratch("run/anchor/manifest.json")) }
    try scratch.folder("half")
    try Data(AnchorFixture.json()).write(to: URL(fileURLWithPath: scratch("half/config.json")))
    anchorRefusal("model.safetensors") { _ = try ModelSources.open(scratch("half")) }
    #expect(try ModelSources.kind(of: scratch("half")) == .huggingFaceFolder)
  }
}
