import Checkpoints
import Foundation
import Tensors
import Testing
import TestSupport
import Transformer

/// What a folder must hold to be a model, and what is said where it does not.
struct HuggingFaceFolderTests {
  private static let json = tinyConfiguration("LlamaForCausalLM", ["tie_word_embeddings": true])
  private var tensors: [StoredTensor] {
    get throws { try TransformerTests.tensors(of: ModelConfiguration(json: Array(Self.json.utf8), source: ""), seed: 5) }
  }

  /// The refusal of a folder whose tensors `change` has damaged.
  private func expectRefusal(
    _ words: String..., json: String = json, sourceLocation: SourceLocation = #_sourceLocation,
    change: (inout [StoredTensor]) -> Void
  ) throws {
    let folder = try TemporaryFolder()
    var stored = try tensors
    change(&stored)
    try writeModel(json, stored, to: folder)
    do {
      _ = try HuggingFaceFolder(folder.path)
      Issue.record("nothing was refused", sourceLocation: sourceLocation)
    } catch let error as ModelError {
      for word in [folder.path] + words { #expect(error.description.contains(word), "\(error)", sourceLocation: sourceLocation) }
    }
  }

  @Test func missingTensor() throws {
    let name = "model.layers.1.mlp.up_proj.weight"
    try expectRefusal("'\(name)'", "missing") { $0.removeAll { $0.name == name } }
    try expectRefusal("'model.norm.weight'", "missing") { $0.removeAll { $0.name == "model.norm.weight" } }
  }

  /// A bias that the configuration knows nothing of would change every number.
  @Test func extraTensor() throws {
    let name = "model.layers.0.self_attn.q_proj.bias"
    try expectRefusal("'\(name)'", "no place") { $0.append(StoredTensor(name: name, shape: [24], values: .init(repeating: 1, count: 24))) }
    try expectRefusal("no place", "model.layers.1.", json: tinyConfiguration("LlamaForCausalLM", ["num_hidden_layers": 1, "tie_word_embeddings": true])) { _ in }
  }

  @Test func wrongShape() throws {
    let name = "model.layers.0.self_attn.o_proj.weight"
    try expectRefusal("'\(name)'", "[12, 48]", "[24, 24]") { stored in
      stored[stored.firstIndex { $0.name == name }!].shape = [12, 48]
    }
  }

  @Test func wrongType() throws {
    let name = "model.layers.0.mlp.down_proj.weight"
    try expectRefusal("'\(name)'", "I32", "BF16") { stored in
      stored[stored.firstIndex { $0.name == name }!].type = .i32
    }
  }

  @Test func absentFiles() throws {
    let folder = try TemporaryFolder()
    #expect(throws: ModelError.self) { try HuggingFaceFolder(folder.path) }
    try folder.write(Self.json, "config.json")
    #expect(throws: CheckpointError.self) { try HuggingFaceFolder(folder.path) }
  }

  /// Every tensor comes back as it was written, whatever its type: fp32 to the bit, 16-bit types rounded once.
  @Test(arguments: [SafeTensorsType.f32, .bf16, .f16])
  func valuesReturn(type: SafeTensorsType) throws {
    let folder = try TemporaryFolder(), stored = try tensors
    try writeModel(Self.json, stored.map { StoredTensor(name: $0.name, type: type, shape: $0.shape, values: $0.values) }, to: folder)
    let source = try HuggingFaceFolder(folder.path)
    let parameters = Parameters(source.configuration, in: Arena("test"))
    try source.load(into: parameters)
    let tolerance: Float = type == .f32 ? 0 : type == .bf16 ? 0x1p-8 : 0x1p-11
    let least: Float = type == .f16 ? 0x1p-25 : 0  // half a step among the subnormals of fp16
    for (unit, spec) in parameters.layout.all {
      let expected = try #require(stored.first { $0.name == spec.name }).values
      let wrong = zip(parameters.values(unit, spec), expected).count { abs($0 - $1) > max(tolerance * abs($1), least) }
      #expect(wrong == 0, "\(spec.name)")
    }
  }

  /// Ranks read their rows alone.
  @Test func rowsInTheMiddle() throws {
    let folder = try TemporaryFolder(), stored = try tensors
    try writeModel(Self.json, stored, to: folder)
    let source = try HuggingFaceFolder(folder.path)
    for (_, spec) in ParameterLayout(source.configuration).all {
      let rows = spec.rows / 3..<spec.rows / 2
      var values = [Float](repeating: .nan, count: rows.count * spec.columns)
      var span = values.mutableSpan
      try source.read(spec, rows: rows, into: &span)
      let whole = try #require(stored.first { $0.name == spec.name }).values
      #expect(values == Array(whole[rows.lowerBound * spec.columns..<rows.upperBound * spec.columns]), "\(spec.name)")
    }
  }

  /// A tied matrix may be stored under either name, or both; an untied head must be there.
  @Test func tiedHead() throws {
    func loaded(_ change: (inout [StoredTensor]) -> Void) throws -> [Float] {
      let folder = try TemporaryFolder()
      var stored = try tensors
      change(&stored)
      try writeModel(Self.json, stored, to: folder)
      let source = try HuggingFaceFolder(folder.path)
      let parameters = Parameters(source.configuration, in: Arena("test"))
      try source.load(into: parameters)
      return parameters.allValues
    }
    let once = try loaded { _ in }
    let asHead = try loaded { stored in stored[stored.firstIndex { $0.name == "model.embed_tokens.weight" }!].name = "lm_head.weight" }
    let twice = try loaded { stored in
      var copy = stored.first { $0.name == "model.embed_tokens.weight" }!
      copy.name = "lm_head.weight"
      stored.append(copy)
    }
    #expect(asHead == once)
    #expect(twice == once)
    try expectRefusal("'lm_head.weight'", "missing", json: tinyConfiguration()) { _ in }
  }

  /// What old exports store beside the weights is no parameter.
  @Test func inverseFrequenciesAreIgnored() throws {
    let folder = try TemporaryFolder()
    try writeModel(
      Self.json, try tensors + [StoredTensor(name: "model.layers.0.self_attn.rotary_emb.inv_freq", shape: [3], values: [1, 2, 3])],
      to: folder)
    _ = try HuggingFaceFolder(folder.path)
  }
}

/// The models of the shared data.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)"))
struct SharedModelFolderTests {
  @Test(arguments: [
    ("models/stories260K/hf", ModelConfiguration.Architecture.llama, 260_032, true),
    ("models/tinystories-656k", .llama, 656_000, true),
    ("models/novels-llama-11m", .llama, 11_015_040, true),
    ("models/novels-qwen3-29m", .qwen3, 29_369_856, false),
    ("golden/models/tiny-qwen3", .qwen3, 176_576, false),
    ("golden/models/tiny-qwen2", .qwen2, 125_504, true),
    ("golden/models/tiny-llama3rope", .llama, 123_200, false),
  ])
  func everyParameterIsFilled(
    folder: String, architecture: ModelConfiguration.Architecture, parameterCount: Int, tied: Bool
  ) throws {
    let source = try HuggingFaceFolder(SharedData.url(folder).path), c = source.configuration
    #expect(c.architecture == architecture)
    #expect(c.tiedHead == tied)
    #expect(c.parameterCount == parameterCount)
    let parameters = Parameters(c, in: Arena("test"))
    parameters.poison()
    try source.load(into: parameters)
    let files = try ModelFolderTensors(source.path)
    for (unit, spec) in parameters.layout.all {
      let stored = files.entry(spec.name) == nil ? ParameterLayout.headName : spec.name
      #expect(try parameters.values(unit, spec) == files.read(stored), "\(spec.name)")
    }
    #expect(source.sidecarNames.contains("config.json") && source.sidecarNames.contains("tokenizer.json"))
  }
}
