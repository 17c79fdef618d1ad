import Kernels
public import Quantization
public import Tensors

/// The rotations of a model's configuration, laid out once: R for every layer and site that has one.
///
/// Legend: x (T, K) what flows through a site, W (N, K) a weight that multiplies it. With x <- x R and W <- W R the
/// product x Wᵀ stays what it was, because R is orthogonal; so does every gradient, with dx <- dx Rᵀ on the way back.
///
/// R is one definition for activations and for weights: what calibration stores and what a model applies agree to the
/// bit. Rows are rotated one by one, so results do not depend on the number of threads. Not for two threads at once.
public final class OnlineRotations {
  public let transforms: OnlineTransforms
  private let places: [SiteRotation?]  // layers x sites
  private let scratch: TensorBox  // a row for each thread

  /// - Throws: for a rotation that the model's shape does not allow.
  public convenience init(_ c: ModelConfiguration, in arena: Arena) throws(ModelError) {
    try self.init(c.transforms, for: c, in: arena)
  }

  /// For transforms that are not (yet) those of the configuration.
  public init(_ transforms: OnlineTransforms, for c: ModelConfiguration, in arena: Arena) throws(ModelError) {
    try transforms.check(for: c, source: "model")
    self.transforms = transforms
    var built: [SiteRotation.Key: SiteRotation] = [:]
    var places: [SiteRotation?] = []
    for layer in 0..<c.layerCount {
      for site in OnlineTransforms.Site.allCases {
        guard let rotation = transforms[layer, site] else {
          places.append(nil)
          continue
        }
        let signs = rotation.signSeed.map {
          SiteRotation.Signs(seed: $0, stream: OnlineTransforms.signStream(layer: layer, site: site))
        }
        // Without signs the same R serves every layer.
        let key = SiteRotation.Key(site: site, kind: rotation.kind, signs: signs)
        let made = built[key] ?? SiteRotation(key, c, in: arena)
        built[key] = made
        places.append(made)
      }
    }
    self.places = places
    scratch = TensorBox(
      rows: ThreadTeam.shared.threads, columns: built.values.map(\.scratchCount).max() ?? 0, in: arena)
  }

  /// Whether anything is rotated there.
  public func rotates(layer: Int, site: OnlineTransforms.Site) -> Bool { place(layer, site) != nil }

  /// x <- x R, or x <- x Rᵀ; x as it is where the site has no rotation.
  ///
  /// - Parameter x: (T, K); at `queryKey` queries and keys side by side from column 0 on, further columns stay.
  public func apply(to x: inout Tensor, layer: Int, site: OnlineTransforms.Site, inverse: Bool = false) {
    guard let rotation = place(layer, site), x.rows > 0 else { return }
    rotation.apply(to: &x, inverse: inverse, scratch)
  }

  /// W <- W R for a weight, or rows of it, that multiplies what flows through `site`; W <- W Rᵀ undoes it.
  ///
  /// - Parameter w: (N, K): rows of q, k, v at `queryKeyValue`, of o at `output`, of gate, up at `gateUp`, of down at
  ///   `down`. No weight belongs to `queryKey`, whose rotation cancels in attention.
  public func rotateWeight(_ w: inout Tensor, layer: Int, site: OnlineTransforms.Site, inverse: Bool = false) {
    precondition(site != .queryKey, "no weight takes part in the rotation of queries and keys")
    apply(to: &w, layer: layer, site: site, inverse: inverse)
  }

  private func place(_ layer: Int, _ site: OnlineTransforms.Site) -> SiteRotation? {
    places[layer * OnlineTransforms.Site.allCases.count + site.index]
  }
}

extension OnlineTransforms.Site {
  /// Its place in `allCases`.
  var index: Int {
    switch self {
    case .queryKeyValue: 0
    case .output: 1
    case .gateUp: 2
    case .down: 3
    case .queryKey: 4
    }
  }

  /// K: elements of a row that flow through the site; of queries and keys together at `queryKey`.
  public func width(in c: ModelConfiguration) -> Int {
    switch self {
    case .queryKeyValue, .gateUp: c.hiddenSize
    case .output: c.queryWidth
    case .down: c.feedForwardSize
    case .queryKey: c.queryWidth + c.keyWidth
    }
  }
}

extension ParameterSpec {
  /// The place whose activations this tensor multiplies; nil for what is no weight of a layer.
  public var rotationPlace: (layer: Int, site: OnlineTransforms.Site)? {
    // model.layers.3.mlp.down_proj.weight
    let words = name.split(separator: ".")
    guard role == .linear, words.count == 6, let layer = Int(words[2]) else { return nil }
    switch words[4] {
    case "q_proj", "k_proj", "v_proj": return (layer, .queryKeyValue)
    case "o_proj": return (layer, .output)
    case "gate_proj", "up_proj": return (layer, .gateUp)
    case "down_proj": return (layer, .down)
    default: return nil
    }
  }
}

/// R of one site.
private final class SiteRotation {
  struct Key: Hashable {
    let site: OnlineTransforms.Site
    let kind: OnlineRotation.Kind
    let signs: Signs?
  }

  struct Signs: Hashable {
    let seed: UInt64
    let stream: String
  }

  private enum Shape {
    /// The first `width` columns.
    case blocks(BlockRotation, width: Int)
    case full(FullHadamard)
    /// Each row is a matrix of heads x `width`, rotated along its columns.
    case acrossHeads(FullHadamard, width: Int)
  }

  private let shape: Shape

  init(_ key: Key, _ c: ModelConfiguration, in arena: Arena) {
    let width = key.site.width(in: c)
    func masks(_ count: Int) -> [UInt32] {
      key.signs.map { RotationSigns(seed: $0.seed, stream: $0.stream).masks(count: count) } ?? []
    }
    func hadamard(_ size: Int) -> FullHadamard {
      guard let size = HadamardSize(size) else { preconditionFailure("checked: \(size) has a Hadamard matrix") }
      return FullHadamard(
        matrix: size.matrix.entries, order: size.order, power: size.power, signs: masks(size.size))
    }
    switch key.kind {
    case .blocks(let block):
      let blocks = BlockRotation(block: block, length: width, in: arena)
      // Heads that meet in q·kᵀ need the same R: all have the signs of the first.
      let signs = masks(key.site == .queryKey ? c.headDimension : width)
      for i in 0..<(signs.isEmpty ? 0 : width) { blocks.signs[i] = signs[i % signs.count] }
      shape = .blocks(blocks, width: width)
    case .full: shape = .full(hadamard(width))
    case .acrossHeads: shape = .acrossHeads(hadamard(c.queryHeads), width: c.headDimension)
    }
  }

  var scratchCount: Int {
    switch shape {
    case .blocks: 0
    case .full(let transform), .acrossHeads(let transform, _): transform.scratchCount
    }
  }

  func apply(to x: inout Tensor, inverse: Bool, _ scratch: TensorBox) {
    let rows = x.rows, columns = x.columns
    // Some 128 KiB a piece: large against handing it out, small against the cache.
    let grain = max(1, 32_768 / columns)
    let pieces = (rows + grain - 1) / grain
    // Sound: pieces are rows of their own, and scratch goes by worker.
    ThreadTeam.shared.parallel(pieces, workers: scratch.values.rows) { piece, worker in
      var run = x.rows(piece * grain..<min(rows, (piece + 1) * grain))
      var space = scratch.values.rows(worker..<worker + 1)
      switch shape {
      case .blocks(let rotation, let width):
        rotation.apply(toColumns: 0..<width, of: &run, inverse ? .inverse : .forward)
      case .full(let transform): transform.rotateRows(&run, inverse: inverse, scratch: &space)
      case .acrossHeads(let transform, let width):
        for t in 0..<run.rows {
          var heads = run.region(t * columns, rows: transform.size, columns: width)
          transform.rotateColumns(&heads, inverse: inverse, scratch: &space)
        }
      }
    }
  }
}
