/// A rotation that a model applies to activations while it runs, because its weights are stored rotated.
///
/// Legend: x (T, K) the input of a linear layer, W (N, K); x R and W R give the same product as x and W.
public struct OnlineRotation: Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    /// blockdiag(H_b, ..., H_b) / sqrt(b) along the axis; b is 16, 32, 64 or 128 and divides it.
    case blocks(Int)
    /// H_K / sqrt(K) over the whole axis (``HadamardSize``).
    case full
    /// H_heads ⊗ I over the query heads of attention's output: mixes heads, leaves the place in a head (QuaRot).
    case acrossHeads
  }

  public var kind: Kind
  /// Of the random signs (``RotationSigns``); nil for none.
  public var signSeed: UInt64?

  public init(_ kind: Kind, signSeed: UInt64? = nil) {
    self.kind = kind
    self.signSeed = signSeed
  }
}

/// The rotations a reparameterised model applies while it runs, site by site. Empty for an ordinary model.
///
/// They are part of the model's configuration, so that whatever runs the model applies them.
public struct OnlineTransforms: Sendable, Hashable {
  /// Where a rotation acts.
  public enum Site: String, Sendable, Hashable, CaseIterable {
    /// Input of q, k and v.
    case queryKeyValue = "qkv"
    /// Input of o: attention's output.
    case output = "o"
    /// Input of gate and up.
    case gateUp = "gate_up"
    /// Input of down.
    case down = "down"
    /// Queries and keys, head by head, after the rotary embedding; it cancels in q·kᵀ.
    case queryKey = "qk"
  }

  private var rotations: [Place: OnlineRotation] = [:]

  private struct Place: Hashable, Sendable {
    let layer: Int
    let site: Site
  }

  public init() {}

  public var isEmpty: Bool { rotations.isEmpty }

  public subscript(layer: Int, site: Site) -> OnlineRotation? {
    get { rotations[Place(layer: layer, site: site)] }
    set { rotations[Place(layer: layer, site: site)] = newValue }
  }

  /// Layers that have a rotation at `site`, ascending.
  public func layers(with site: Site) -> [Int] { rotations.keys.filter { $0.site == site }.map(\.layer).sorted() }

  /// The stream of signs of one place: the same on every rank, and in every program that reads the model.
  public static func signStream(layer: Int, site: Site) -> String { "online \(layer) \(site.rawValue)" }
}
