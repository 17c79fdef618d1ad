import Checkpoints
import Communication
import Formats
import Kernels
import Quantization
import Settings
import Tensors
import Testing
import Text
import Training
import Transformer

/// What a run writes: the same on any number of ranks, and everything in it follows from the final masters.
@Suite struct RunFilesTests {
  @Test func filesDoNotDependOnTheRanks() throws {
    let place = try RunPlace()
    for ranks in 1...4 { try Runs.finish(place.settings("on\(ranks)"), ranks: ranks) }
    let metrics = try place.metrics("on1")
    #expect(metrics.count == 6 + 2 * 2, "a line a step, and one a validation and format: \(metrics)")
    let checkpoint = place.names("on1/checkpoints/step-000006"), anchor = place.names("on1/anchor")
    #expect(
      checkpoint == [
        "config.json", "data-00000-00000.zst", "generation_config.json", "manifest.json", "tokenizer.json",
      ])
    #expect(anchor.contains("config.json") && anchor.contains("tokenizer.json"))
    for ranks in 2...4 {
      #expect(try place.metrics("on\(ranks)") == metrics)
      for step in [3, 6] {
        #expect(try place.state("on\(ranks)", step) == place.state("on1", step), "step \(step) on \(ranks) ranks")
        let data = place.names("on\(ranks)/checkpoints/step-00000\(step)").filter { $0.hasSuffix(".zst") }
        #expect(data == (0..<ranks).map { "data-0000\($0)-00000.zst" }, "every rank writes its own")
      }
      let (one, other) = (try TensorContainer(place("on1/anchor")), try TensorContainer(place("on\(ranks)/anchor")))
      #expect(TensorContainer.verify(other.directory).isEmpty)
      for tensor in one.tensors {
        #expect(try other.contentHashes(tensor.name) == one.contentHashes(tensor.name), "\(tensor.name)")
      }
      #expect(place.names("on\(ranks)/anchor") == anchor)
      for file in anchor {
        #expect(try place.bytes("on\(ranks)/anchor/" + file) == place.bytes("on1/anchor/" + file), "anchor/\(file)")
      }
    }
  }

  @Test(arguments: [("[mxint2, mxint4, mxint8]", "[mxint8, mxint3]"), ("[mxfp4, mxfp8_e4m3]", "[mxfp6_e2m3]")])
  func anchorIsTheRoundedMastersAndWhatTrainingSaw(formats: String, evaluated: String) throws {
    let place = try RunPlace()
    let settings = try place.settings(
      "run", ["quantization.formats=\(formats)", "quantization.evaluate_formats=\(evaluated)"])
    try Runs.finish(settings, ranks: 3)
    let model = try AnchorModel(place("run/anchor"))
    let file = try TensorContainer(place("run/anchor"))
    let arena = Arena("test")
    #expect(model.quantized.count == 14 && model.format == settings.quantization.anchor)
    for (_, spec) in model.layout.all {
      let values = try place.master("run", 6, spec.name)
      guard model.quantized[spec.name] != nil else {
        var stored = [Float](repeating: 0, count: spec.count)
        var span = stored.mutableSpan
        try model.read(spec, rows: 0..<spec.rows, into: &span)
        #expect(stored == values, "\(spec.name)")
        continue
      }
      var master = Tensor(rows: spec.rows, columns: spec.columns, in: arena)
      do {
        var span = master.mutableSpan
        for i in values.indices { span[i] = values[i] }
      }
      var codes = PackedTensor(model.format, rows: spec.rows, columns: spec.columns, in: arena)
      BlockCodec.quantize(&codes, from: master)
      var stored = PackedTensor(model.format, rows: spec.rows, columns: spec.columns, in: arena)
      try file.readPacked(spec.name, into: &stored)
      let isSame = equal(stored.codes.span, codes.codes.span) && equal(stored.scales.span, codes.scales.span)
      #expect(isSame, "\(spec.name)")
    }

    // Cut from the codes by the plan, value by value what loading a slice gives.
    let cut = Parameters(model.configuration, in: arena)
    for target in SlicePlan.formatsCut(from: model.format) {
      try model.load(into: cut, as: target)
      let plan = try SlicePlan(from: model.format, to: target)
      for (unit, spec) in model.layout.all where model.quantized[spec.name] != nil {
        var stored = PackedTensor(model.format, rows: spec.rows, columns: spec.columns, in: arena)
        try file.readPacked(spec.name, into: &stored)
        var sliced = PackedTensor(target, rows: spec.rows, columns: spec.columns, in: arena)
        if target == model.format {
          sliced.codes.copy(from: stored.codes)
          sliced.scales.copy(from: stored.scales)
        } else {
          BlockCodec.slice(&sliced, from: stored, plan: plan)
        }
        var expected = Tensor(rows: spec.rows, columns: spec.columns, in: arena)
        BlockCodec.dequantize(&expected, from: sliced)
        let found = cut.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
        let isSame = equal(found.span, expected.span)
        #expect(isSame, "\(spec.name) in \(target)")
      }
    }
  }

  @Test func lastValidationSawTheSlicesOfTheAnchor() throws {
    let place = try RunPlace()
    // The last format evaluated is one that no step has trained.
    let settings = try place.settings()
    let model = place("run/anchor")
    let same = try Communicator.onThreads(2) { communicator in
      let run = try TrainingRun(
        settings, communicator: communicator, open: { try ModelSources.open($0) }, report: { _ in })
      try run.run(resume: .no)
      let anchor = try AnchorModel(model)
      let cut = Parameters(anchor.configuration, in: Arena("test"))
      try anchor.load(into: cut, as: MXFormat(named: "mxint3"))
      var isSame = true
      for (a, b) in zip(cut.units, run.trainer.currentWeights.units) {
        let same = equal(a.flat.span, b.flat.span)
        isSame = isSame && same
      }
      return isSame
    }
    #expect(same == [true, true])
  }

  @Test func fullPrecisionReportsTheFormatsItIsAskedFor() throws {
    let place = try RunPlace()
    let overrides = ["quantization.objective=full_precision", "quantization.evaluate_formats=[mxint4, mxint2]"]
    try Runs.finish(place.settings("one", overrides), ranks: 1)
    try Runs.finish(place.settings("three", overrides), ranks: 3)
    #expect(!place.exists("one/anchor"))
    #expect(try place.metrics("three") == place.metrics("one"))
    let validations = try place.metrics("one").filter { $0.contains("validation") }
    #expect(validations.count == 6)
    for (line, format) in zip(validations, ["fp32", "mxint4", "mxint2"]) { #expect(line.contains("\"\(format)\"")) }
    let figures = Set(validations.compactMap { $0.split(separator: "\"nll\":").last })
    #expect(figures.count == 6, "each format has a figure of its own: \(validations)")
    // Rounding for a validation leaves no trace in the training.
    try Runs.finish(place.settings("silent", ["quantization.objective=full_precision", "logging.validate_every=0"]))
    let steps = try place.metrics("one").filter { !$0.contains("validation") }
    #expect(try place.metrics("silent") == steps)
  }

  @Test func activationsAndMoreRanksThanLanes() throws {
    let place = try RunPlace()
    let overrides = ["quantization.activations=mxint8", "training.lanes=2"]
    try Runs.finish(place.settings("one", overrides), ranks: 1)
    try Runs.finish(place.settings("five", overrides), ranks: 5)
    #expect(try place.metrics("five") == place.metrics("one"))
    #expect(try place.state("five", 6) == place.state("one", 6))
    try Runs.finish(place.settings("without", ["training.lanes=2"]))
    #expect(try place.metrics("without") != place.metrics("one"), "activations are rounded")
  }

  @Test func anchorIsAStartingModel() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("first", ["quantization.formats=[mxint8]"]))
    // A rate too small to change anything but zeros: what is saved after a step is what was loaded.
    try Runs.finish(
      place.settings(
        "second",
        [
          "model.path=\(place("first/anchor"))", "training.steps=1", "training.learning_rate=1.0e-30",
          "training.weight_decay=0",
        ]), ranks: 2)
    let anchor = try AnchorModel(place("first/anchor"))
    for (_, spec) in anchor.layout.all {
      var values = [Float](repeating: 0, count: spec.count)
      var span = values.mutableSpan
      try anchor.read(spec, rows: 0..<spec.rows, into: &span)
      let saved = try place.master("second", 1, spec.name)
      #expect(zip(saved, values).allSatisfy { abs($0 - $1) < 1e-20 }, "\(spec.name)")
    }
    #expect(TensorContainer.verify(place("second/anchor")).isEmpty)
  }

  @Test func tokenFileGivesTheSameRun() throws {
    let place = try RunPlace()
    let tokenizer = try Tokenizer(contentsOf: place("model/tokenizer.json"))
    _ = try TokenFile.write(TextSource.load([place("train.txt")]), with: tokenizer, to: place("train.bin"))
    try Runs.finish(place.settings("text"))
    try Runs.finish(place.settings("tokens", ["data.train=[\(place("train.bin"))]"]), ranks: 2)
    #expect(try place.metrics("tokens") == place.metrics("text"))
  }

  @Test func readingBackChangesNothing() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("plain"))
    try Runs.finish(place.settings("checked", ["checkpoint={every: 3, keep: 9, verify: true, background: true, threads: 2}"]), ranks: 3)
    for step in [3, 6] { #expect(try place.state("checked", step) == place.state("plain", step)) }
  }

  @Test func checkpointIsAModel() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings())
    let model = try ModelSources.open(place("run/latest"))
    #expect(try place.text("run/checkpoints/step-000006/config.json").contains("\"torch_dtype\": \"float32\""))
    #expect(model is CheckpointModel && model.configuration.hiddenSize == 64)
    let sidecars = try model.travellingSidecars().map(\.name)
    #expect(sidecars == ["config.json", "generation_config.json", "tokenizer.json"])
    try TrainingCheckpoint(path: place("run/checkpoints/step-000006"))?.verify()
    for file in ["config.resolved.yaml", "environment.json"] { #expect(place.exists("run/" + file)) }
    #expect(try RunConfiguration(contentsOf: place("run/config.resolved.yaml")) == place.settings().resolved)
  }
}

extension RunConfiguration {
  /// As it comes back from a run directory: every `auto` replaced.
  var resolved: RunConfiguration {
    get throws { try RunConfiguration(yaml: resolvedYAML(), file: "resolved") }
  }
}

func equal<Element: Equatable & BitwiseCopyable>(_ a: Span<Element>, _ b: Span<Element>) -> Bool {
  a.count == b.count && a.indices.allSatisfy { a[$0] == b[$0] }
}
