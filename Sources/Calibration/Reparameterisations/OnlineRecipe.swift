public import Quantization
public import Transformer

/// Which rotations a calibrated model applies while it runs.
///
/// | recipe | o | down | qkv, gate_up | q and k |
/// | --- | --- | --- | --- | --- |
/// | quaRot | across heads; values offline | full width | none: the residual stream is rotated | optional, per head |
/// | blocks(k) | blocks of k | blocks of k | blocks of k | none |
///
/// QuaRot: arXiv 2404.00456. Blocks: MR-GPTQ, arXiv 2509.23202, k = 16, 32, 64 or 128. Where a width has no such
/// rotation the site takes the nearest that it has, or none; notes say so.
public enum OnlineRecipe: Sendable, Hashable {
  case none
  /// - Parameter queryKey: also rotates queries and keys after the rotary embedding, for quantised caches.
  case quaRot(queryKey: Bool)
  case blocks(Int)

  /// The transforms of every layer of a model, and what had to be left out.
  ///
  /// - Parameter signSeed: of random signs; nil for none. Places differ in their signs
  ///   (``OnlineTransforms/signStream``).
  public func transforms(
    for c: ModelConfiguration, signSeed: UInt64?
  ) -> (transforms: OnlineTransforms, notes: [String]) {
    var chosen: [OnlineTransforms.Site: OnlineRotation.Kind] = [:]
    var notes: [String] = []
    switch self {
    case .none: break
    case .quaRot(let queryKey):
      if c.queryHeads > 1, HadamardSize(c.queryHeads) != nil {
        chosen[.output] = .acrossHeads
      } else {
        notes.append("o is rotated head by head only: \(c.queryHeads) heads have no Hadamard matrix to mix them")
      }
      if HadamardSize(c.feedForwardSize) != nil {
        chosen[.down] = .full
      } else {
        chosen[.down] = Self.blocks(c.feedForwardSize, atMost: 128, "down has no full Hadamard matrix", &notes)
      }
      if queryKey {
        if [16, 32, 64, 128].contains(c.headDimension) {
          chosen[.queryKey] = .blocks(c.headDimension)
        } else {
          notes.append("q and k are not rotated: heads of \(c.headDimension) are not 16, 32, 64 or 128 wide")
        }
      }
    case .blocks(let k):
      precondition([16, 32, 64, 128].contains(k), "rotations in blocks of \(k): 16, 32, 64 or 128")
      for (site, width) in [
        (OnlineTransforms.Site.queryKeyValue, c.hiddenSize), (.output, c.queryWidth), (.gateUp, c.hiddenSize),
        (.down, c.feedForwardSize),
      ] {
        chosen[site] = width % k == 0
          ? .blocks(k) : Self.blocks(width, atMost: k, "\(site.rawValue) has no blocks of \(k)", &notes)
      }
    }
    var transforms = OnlineTransforms()
    for layer in 0..<c.layerCount {
      for (site, kind) in chosen { transforms[layer, site] = OnlineRotation(kind, signSeed: signSeed) }
    }
    return (transforms, notes)
  }

  /// Blocks that divide the width; nil where not even 16 does.
  private static func blocks(
    _ width: Int, atMost limit: Int, _ reason: String, _ notes: inout [String]
  ) -> OnlineRotation.Kind? {
    let block = HadamardSize.block(dividing: width, atMost: limit)
    notes.append("\(reason): \(width) elements " + (block > 0 ? "take blocks of \(block)" : "stay as they are"))
    return block > 0 ? .blocks(block) : nil
  }
}

extension OnlineRotations {
  /// The weights of one layer as the model multiplies them: W <- W R at every site that has a rotation.
  ///
  /// After foldings, fixed rotations and scalings, which all speak of columns before it.
  public func rotateWeights(of layer: LayerParameters, index: Int) {
    rotateWeight(&layer.queryKeyValue, layer: index, site: .queryKeyValue)
    rotateWeight(&layer.output, layer: index, site: .output)
    rotateWeight(&layer.gateUp, layer: index, site: .gateUp)
    rotateWeight(&layer.down, layer: index, site: .down)
  }
}
