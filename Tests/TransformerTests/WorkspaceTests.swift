import Formats
import Tensors
import Testing
import Transformer

struct WorkspaceTests {
  private func expectRefusal(
    _ changes: [String: (any Sendable)?], className: String, length: Int, _ words: String...,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let json = tinyConfiguration(className, changes)
    let configuration = try ModelConfiguration(json: Array(json.utf8), source: "config.json")
    do throws(ModelError) {
      _ = try Workspace(configuration, sequences: 1, length: length, purpose: .inference, in: Arena("test"))
      Issue.record("nothing was refused", sourceLocation: sourceLocation)
    } catch {
      for word in words { #expect(error.description.contains(word), "\(error)", sourceLocation: sourceLocation) }
    }
  }

  @Test func contextBeyondThePositionsIsRefused() throws {
    try expectRefusal([:], className: "LlamaForCausalLM", length: 65, "65", "max_position_embeddings 64")
  }

  @Test func contextBeyondTheSlidingWindowIsRefused() throws {
    try expectRefusal(["sliding_window": 16], className: "MistralForCausalLM", length: 17, "17", "window of 16")
    let slides: [String: (any Sendable)?] = ["sliding_window": 16, "use_sliding_window": true]
    try expectRefusal(slides, className: "Qwen2ForCausalLM", length: 17, "window of 16")
  }

  @Test func contextsUpToTheLimitAreAccepted() throws {
    for (changes, length) in [([:], 64), (["sliding_window": 16], 16)] as [([String: (any Sendable)?], Int)] {
      let json = tinyConfiguration("MistralForCausalLM", changes)
      let configuration = try ModelConfiguration(json: Array(json.utf8), source: "config.json")
      let space = try Workspace(configuration, sequences: 3, length: length, purpose: .training, in: Arena("test"))
      #expect(space.tokens == 3 * length)
    }
  }

  /// One layer's memory serves all layers in inference: depth costs nothing there.
  @Test func inferenceNeedsNoMemoryPerLayer() throws {
    func bytes(layers: Int, _ purpose: Workspace.Purpose) throws -> Int {
      let json = tinyConfiguration("LlamaForCausalLM", ["num_hidden_layers": layers])
      let configuration = try ModelConfiguration(json: Array(json.utf8), source: "config.json")
      let arena = Arena("test")
      _ = try Workspace(configuration, sequences: 2, length: 16, purpose: purpose, in: arena)
      return arena.reservedBytes
    }
    #expect(try bytes(layers: 2, .inference) == bytes(layers: 9, .inference))
    #expect(try bytes(layers: 2, .training) < bytes(layers: 9, .training))
  }
}
