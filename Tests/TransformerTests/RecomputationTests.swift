import Formats
import Tensors
import Testing
import Transformer

/// Memory of a workspace that runs forward again for backward. That its bits are those of one that does not:
/// `SharedUnitsTests`.
struct RecomputationTests {
  private func bytes(
    layers: Int, length: Int = 16, recompute: Bool, activations: MXFormat? = nil
  ) throws -> Int {
    let json = ArithmeticCase.wide("Qwen3ForCausalLM", ["num_hidden_layers": layers, "head_dim": 16])
    let c = try ModelConfiguration(json: Array(json.utf8), source: "test"), arena = Arena("test")
    _ = try Workspace(
      c, sequences: 2, length: length, purpose: .training, recompute: recompute, activationFormat: activations,
      in: arena)
    return arena.reservedBytes
  }

  /// A layer costs its input: T x D floats.
  @Test(arguments: [nil, MXFormat.mxint8])
  func aLayerCostsItsInput(_ activations: MXFormat?) throws {
    for length in [16, 48] {
      let two = try bytes(layers: 2, length: length, recompute: true, activations: activations)
      let nine = try bytes(layers: 9, length: length, recompute: true, activations: activations)
      #expect(nine - two == 7 * 2 * length * 64 * 4)
    }
  }

  /// One layer has nothing to run again.
  @Test func oneLayerCostsTheSame() throws {
    #expect(try bytes(layers: 1, recompute: true) == bytes(layers: 1, recompute: false))
    #expect(try bytes(layers: 2, recompute: true) < bytes(layers: 2, recompute: false))
    let (with, without) = try (bytes(layers: 9, recompute: true), bytes(layers: 9, recompute: false))
    figure("nine layers: \(with) bytes with recomputation, \(without) without")
    #expect(3 * with < without)
  }
}
