public import Checkpoints
import Communication
import Tensors
import Transformer

/// What a rank holds while it calibrates, part by part; known before the first sequence runs. Program and libraries come on top.
public struct CalibrationMemory: Sendable {
  public let parts: [(purpose: String, bytes: Int)]

  public var bytes: Int { parts.reduce(0) { $0 + $1.bytes } }

  /// - Parameters:
  ///   - own: sequences of this rank.
  ///   - context: tokens of a sequence.
  init(_ c: ModelConfiguration, own: Int, context: Int, correctsUpstream: Bool) throws(ModelError) {
    var parts: [(purpose: String, bytes: Int)] = []
    let copies = correctsUpstream ? 2 : 1, layout = ParameterLayout(c)
    let layer = layout.units.dropFirst().dropLast().map(\.elementCount).max() ?? 0
    let ends = [layout.units[0], layout.units[layout.units.count - 1]].map(\.elementCount).max() ?? 0
    parts.append(("residual streams of \(own) sequences", copies * ResidualStream.bytes(c, sequences: own, length: context)))
    // A workspace is laid out, not touched: it costs addresses.
    let arena = Arena("forecast")
    _ = try Workspace(c, sequences: 1, length: context, purpose: .inference, in: arena)
    parts.append(("activations of a sequence", (1 + copies) * arena.reservedBytes))
    parts.append(("weights of a layer", 4 * copies * layer))
    parts.append(("embedding or head", 4 * ends))
    let K = max(c.hiddenSize, c.queryWidth, c.feedForwardSize)
    let N = max(c.queryKeyValueWidth, 2 * c.feedForwardSize, c.hiddenSize)
    // fp32 products, integer sums, fp64 values, the factor while it is made and what stays of it.
    parts.append(("second moments of an input", K * K * (4 + 8 + 8 + 8 + 2)))
    if correctsUpstream { parts.append(("output errors", N * K * (4 + 8 + 8) + 8 * context * N)) }
    parts.append(("a weight being rounded", N * K * (4 + 2 * 1)))
    self.parts = parts
  }

  public var json: JSONValue {
    var object = JSONObject()
    for (purpose, bytes) in parts { object[purpose] = .integer(bytes) }
    return .object(object)
  }
}
