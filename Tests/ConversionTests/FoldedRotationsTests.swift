import Checkpoints
import Conversion
import Formats
import Foundation
import Quantization
import Tensors
import Testing
import Transformer

/// A rotated model leaves as an ordinary model folder: rotations are folded back into its weights.
@Suite struct FoldedRotationsTests {
  private static let configuration = """
    {
      "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
      "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4,
      "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 41, "max_position_embeddings": 64, "rms_norm_eps": 1e-06,
      "tie_word_embeddings": false
    }
    """

  private static var transforms: OnlineTransforms {
    var transforms = OnlineTransforms()
    for layer in 0..<2 {
      transforms[layer, .queryKeyValue] = OnlineRotation(.blocks(32), signSeed: 5)
      transforms[layer, .output] = OnlineRotation(.acrossHeads, signSeed: 6)
      transforms[layer, .queryKey] = OnlineRotation(.blocks(16))
    }
    transforms[0, .gateUp] = OnlineRotation(.full)
    transforms[1, .down] = OnlineRotation(.full, signSeed: 7)
    return transforms
  }

  /// A folder of the rotated model, in its values any model.
  private func rotatedFolder(_ scratch: Scratch) throws -> HuggingFaceFolder {
    let json = try ConfigurationText.stating(Self.transforms, in: Array(Self.configuration.utf8), source: "test")
    try Synthetic.write(scratch("rotated"), json: String(decoding: json, as: UTF8.self)) { tensor, i in
      let random = CounterRandom(seed: 5, stream: UInt64(tensor))
      return (Float(random.uniform(UInt64(i))) - 0.5) / 4
    }
    let folder = try HuggingFaceFolder(scratch("rotated"))
    #expect(folder.configuration.transforms == Self.transforms)
    return folder
  }

  private func hidden(_ source: any ModelSource) throws -> [Float] {
    let arena = Arena("test"), w = Parameters(source.configuration, in: arena)
    try source.load(into: w)
    let space = try Workspace(source.configuration, sequences: 1, length: 16, purpose: .inference, in: arena)
    for t in 0..<16 { space.ids[t] = Int32(t * 7 % 41) }
    DecoderModel.forward(w, space)
    let x = space.hidden.region(0, rows: 1, columns: space.hidden.count)
    return (0..<x.count).map { x.span[$0] }
  }

  /// Largest difference over largest magnitude.
  private func distance(_ a: [Float], _ b: [Float]) -> Float {
    zip(a, b).map { abs($0 - $1) }.max()! / b.map(abs).max()!
  }

  private func expectOrdinary(_ path: String, equal source: any ModelSource) throws {
    let folder = try HuggingFaceFolder(path)
    #expect(folder.configuration.transforms.isEmpty)
    #expect(try JSONScanner.parse(folder.sidecar("config.json"))["mfqat_online_rotations"] == nil)
    #expect(FolderHashes.verify(path).isEmpty)
    #expect(try distance(hidden(folder), hidden(source)) < 1e-5)
    // Where nothing is rotated, values are what they were.
    for (_, spec) in ParameterLayout(folder.configuration).all {
      let isRotated = spec.rotationPlace.map { Self.transforms[$0.layer, $0.site] != nil } ?? false
      #expect(try (bits(values(folder, spec)) == bits(values(source, spec))) == !isRotated, "\(spec.name)")
    }
  }

  @Test func fullPrecision() throws {
    let scratch = try Scratch(), source = try rotatedFolder(scratch)
    try Converter(source).convertToFullPrecision(out: scratch("out"))
    try expectOrdinary(scratch("out"), equal: source)
  }

  @Test func denseOfAnAnchor() throws {
    let scratch = try Scratch(), source = try rotatedFolder(scratch)
    let anchored = try Converter(source).convert(to: [.mxint8], out: scratch("anchor"))
    #expect(anchored.outputs[0].label == "rounded directly")
    let anchor = try AnchorModel(scratch("anchor"))
    #expect(anchor.configuration.transforms == Self.transforms)
    let plan = try Converter(anchor).convert(to: [.mxint8], out: scratch("out"), as: .dense)
    #expect(plan.outputs[0].label == "as stored in mxint8, online rotations folded in")
    try expectOrdinary(scratch("out"), equal: anchor)
    // A slice keeps the rotations, and its folder folds them.
    try Converter(anchor).convert(to: [.mxint4], out: scratch("mxint4"))
    let slice = try AnchorModel(scratch("mxint4"))
    #expect(slice.configuration == anchor.configuration)
    try Converter(anchor).convert(to: [.mxint4], out: scratch("dense-mxint4"), as: .dense)
    try expectOrdinary(scratch("dense-mxint4"), equal: slice)
  }
}
