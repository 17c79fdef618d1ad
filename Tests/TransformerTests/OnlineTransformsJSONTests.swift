import Checkpoints
import Quantization
import Testing
import Transformer

/// Online rotations in config.json.
@Suite struct OnlineTransformsJSONTests {
  private static func stated(_ model: RotatedModel) throws -> [UInt8] {
    try ConfigurationText.stating(model.transforms, in: Array(model.json.utf8), source: "config.json")
  }

  @Test(arguments: RotatedModel.all) func whatIsWrittenIsRead(_ model: RotatedModel) throws {
    let json = try Self.stated(model)
    let read = try ModelConfiguration(json: json, source: "config.json")
    let (rotated, plain) = (try model.rotated(), try model.plain())
    #expect(read == rotated && read.hashValue == rotated.hashValue && read != plain)
    // Again, the same bytes; and without rotations all as before, the key gone.
    #expect(try ConfigurationText.stating(read.transforms, in: json, source: "config.json") == json)
    let without = try ConfigurationText.stating(OnlineTransforms(), in: json, source: "config.json")
    #expect(try JSONScanner.parse(without) == JSONScanner.parse(Array(model.json.utf8)))
    #expect(try ModelConfiguration(json: without, source: "config.json") == plain)
    #expect(try ConfigurationText.stating(OnlineTransforms(), in: without, source: "config.json") == without)
  }

  /// Equal values have equal bytes, whatever the order they were made in.
  @Test func entriesHaveOneOrder() throws {
    let model = try #require(RotatedModel.all.first { $0.name == "llama, everywhere" })
    var backwards = OnlineTransforms()
    for entry in model.rotations.reversed() {
      for layer in entry.layers.reversed() { backwards[layer, entry.site] = entry.rotation }
    }
    let json = try Self.stated(model), source = "config.json"
    #expect(try ConfigurationText.stating(backwards, in: Array(model.json.utf8), source: source) == json)
    let expected: JSONValue = [
      ["site": "qkv", "kind": "full", "signs": "1", "layers": [0, 1]],
      ["site": "o", "kind": "across_heads", "layers": [0, 1]],
      ["site": "gate_up", "kind": "blocks", "block": 32, "signs": "2", "layers": [0, 1]],
      ["site": "down", "kind": "blocks", "block": 32, "signs": "3", "layers": [0]],
      ["site": "down", "kind": "full", "layers": [1]],
    ]
    #expect(try JSONScanner.parse(json)["mfqat_online_rotations"] == expected)
  }

  @Test(arguments: [
    (#"{}"#, ["mfqat_online_rotations is an object", "array"]),
    (#"[7]"#, ["[0] is an integer", "object"]),
    (#"[{"kind": "full", "layers": [0]}]"#, ["[0].site is missing", "'gate_up'"]),
    (#"[{"site": "up", "kind": "full", "layers": [0]}]"#, ["[0].site is 'up'", "'gate_up'"]),
    (#"[{"site": "o", "kind": "half", "layers": [0]}]"#, ["[0].kind is 'half'", "'across_heads'"]),
    (#"[{"site": "o", "kind": "full", "layers": [2]}]"#, ["[0]", "layers holds 2", "0 to 1"]),
    (#"[{"site": "o", "kind": "full", "layers": [-1]}]"#, ["layers holds -1"]),
    (#"[{"site": "o", "kind": "full", "layers": []}]"#, ["[0].layers", "array of layer numbers"]),
    (#"[{"site": "o", "kind": "full", "layers": ["0"]}]"#, ["[0].layers", "array of layer numbers"]),
    (#"[{"site": "o", "kind": "full", "layers": [0, 0]}]"#, ["[0].layers names layer 0 once more", "'o'"]),
    (#"[{"site": "o", "kind": "full", "layers": [0]}, {"site": "o", "kind": "full", "signs": "3", "layers": [0]}]"#,
      ["[1].layers names layer 0 once more"]),
    (#"[{"site": "o", "kind": "blocks", "layers": [0]}]"#, ["[0].block is missing", "128"]),
    (#"[{"site": "o", "kind": "blocks", "block": 8, "layers": [0]}]"#, ["block is 8", "16, 32, 64 or 128"]),
    (#"[{"site": "o", "kind": "blocks", "block": 64, "layers": [0]}]"#, ["block is 64", "96"]),
    (#"[{"site": "o", "kind": "full", "block": 32, "layers": [0]}]"#, ["[0].block is 32", "none"]),
    (#"[{"site": "o", "kind": "full", "signs": 3, "layers": [0]}]"#, ["[0].signs is 3", "decimal"]),
    (#"[{"site": "o", "kind": "full", "signs": "-3", "layers": [0]}]"#, ["[0].signs is '-3'", "decimal"]),
    (#"[{"site": "o", "kind": "full", "signs": "03", "layers": [0]}]"#, ["[0].signs is '03'"]),
    (#"[{"site": "o", "kind": "full", "seed": "3", "layers": [0]}]"#, ["[0]", "'seed'", "signs"]),
    (#"[{"site": "o", "kind": "across_heads", "layers": [0]}]"#, ["across_heads", "6 heads"]),
    (#"[{"site": "down", "kind": "across_heads", "layers": [0]}]"#, ["across_heads", "'down'", "'o'"]),
    (#"[{"site": "gate_up", "kind": "full", "layers": [0]}]"#, ["'full'", "'gate_up'", "no Hadamard matrix", "70"]),
    (#"[{"site": "qk", "kind": "full", "layers": [0]}]"#, ["'qk'", "head_dim 16"]),
    (#"[{"site": "qk", "kind": "blocks", "block": 32, "layers": [0]}]"#, ["block is 32", "head_dim 16"]),
  ])
  func whatCannotBeIsRefused(_ json: String, _ words: [String]) throws {
    let text = tinyConfiguration(
      "Qwen3ForCausalLM",
      ["hidden_size": 70, "intermediate_size": 80, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 16])
    let whole = text.dropLast() + #", "mfqat_online_rotations": "# + json + "}"
    let error = #expect(throws: ModelError.self) {
      try ModelConfiguration(json: Array(whole.utf8), source: "model/config.json")
    }
    for word in ["model/config.json"] + words { #expect("\(error!)".contains(word), "\(error!): \(word)") }
  }

  @Test func aHeadOfItsOwn() throws {
    let tied = Array(tinyConfiguration("LlamaForCausalLM", ["tie_word_embeddings": true]).utf8)
    let untied = try ConfigurationText.stating(tiedHead: false, in: tied, source: "config.json")
    #expect(try !ModelConfiguration(json: untied, source: "config.json").tiedHead)
    #expect(try ConfigurationText.stating(tiedHead: false, in: untied, source: "config.json") == untied)
    #expect(try ConfigurationText.stating(tiedHead: true, in: tied, source: "config.json") == tied)
    let silent = try ConfigurationText.stating(tiedHead: false, in: Array(tinyConfiguration().utf8), source: "config.json")
    #expect(try JSONScanner.parse(silent)["tie_word_embeddings"] == false)
  }
}
