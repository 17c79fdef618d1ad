import Checkpoints
public import Quantization

/// Online rotations as `config.json` states them, under ``configurationKey``: an array of
///
///     {"site": "down", "kind": "blocks", "block": 32, "signs": "17", "layers": [0, 1]}
///
/// site: qkv, o, gate_up, down, qk. kind: blocks (with `block`), full, across_heads. signs: the seed in decimal digits,
/// left out for a rotation without signs. An entry holds all layers of a site that have the same rotation; entries stand
/// in the order of sites and of their first layers, so equal values have equal bytes.
extension OnlineTransforms {
  public static let configurationKey = "mfqat_online_rotations"

  /// - Parameters:
  ///   - c: the model's shape, which every rotation must fit.
  ///   - source: the file, for refusals.
  init(_ json: JSONValue, for c: ModelConfiguration, source: String) throws(ModelError) {
    self.init()
    guard let entries = json.array else {
      throw ModelError(source, "\(Self.configurationKey) is \(json.kind), expected an array of rotations")
    }
    for (index, entry) in entries.enumerated() {
      let reader = try RotationEntry(entry, "\(Self.configurationKey)[\(index)]", source)
      let site = try reader.site(), rotation = try reader.rotation()
      for layer in try reader.layers() {
        if let problem = Self.problem(rotation, layer: layer, site: site, in: c) {
          throw ModelError(source, "\(reader.key): \(problem)")
        }
        guard self[layer, site] == nil else {
          throw ModelError(source, "\(reader.key).layers names layer \(layer) once more for site '\(site.rawValue)'",
            hint: "A layer has at most one rotation at a site.")
        }
        self[layer, site] = rotation
      }
    }
  }

  /// The array described above.
  var json: JSONValue {
    var entries: [JSONValue] = []
    for site in Site.allCases {
      var groups: [(rotation: OnlineRotation, layers: [Int])] = []
      for layer in layers(with: site) {
        guard let rotation = self[layer, site] else { continue }
        if let index = groups.firstIndex(where: { $0.rotation == rotation }) {
          groups[index].layers.append(layer)
        } else {
          groups.append((rotation, [layer]))
        }
      }
      for (rotation, layers) in groups {
        var entry = JSONObject()
        entry["site"] = .string(site.rawValue)
        switch rotation.kind {
        case .blocks(let block):
          entry["kind"] = "blocks"
          entry["block"] = .integer(block)
        case .full: entry["kind"] = "full"
        case .acrossHeads: entry["kind"] = "across_heads"
        }
        if let seed = rotation.signSeed { entry["signs"] = .string(String(seed)) }
        entry["layers"] = .array(layers.map { .integer($0) })
        entries.append(.object(entry))
      }
    }
    return .array(entries)
  }
}

extension OnlineTransforms {
  /// Refuses rotations that the shape of a model does not allow.
  func check(for c: ModelConfiguration, source: String) throws(ModelError) {
    for site in Site.allCases {
      for layer in layers(with: site) {
        guard let rotation = self[layer, site],
          let problem = Self.problem(rotation, layer: layer, site: site, in: c)
        else { continue }
        throw ModelError(source, "online rotation of layer \(layer) at '\(site.rawValue)': \(problem)")
      }
    }
  }

  /// Key, found, expected; nil where the rotation can act there.
  static func problem(_ rotation: OnlineRotation, layer: Int, site: Site, in c: ModelConfiguration) -> String? {
    let width = site.width(in: c), at = "at site '\(site.rawValue)'"
    guard (0..<c.layerCount).contains(layer) else {
      return "layers holds \(layer), expected 0 to \(c.layerCount - 1)"
    }
    switch rotation.kind {
    case .blocks(let block):
      guard [16, 32, 64, 128].contains(block) else { return "block is \(block), expected 16, 32, 64 or 128" }
      if site == .queryKey {
        return block == c.headDimension ? nil : "block is \(block) \(at), expected head_dim \(c.headDimension)"
      }
      return width % block == 0 ? nil : "block is \(block) \(at), expected a divisor of its \(width) elements"
    case .full:
      if site == .queryKey { return "kind is 'full' \(at), expected 'blocks' of head_dim \(c.headDimension)" }
      return HadamardSize(width) == nil
        ? "kind is 'full' \(at), expected 'blocks': there is no Hadamard matrix for its \(width) elements" : nil
    case .acrossHeads:
      guard site == .output else { return "kind is 'across_heads' \(at), expected site 'o'" }
      return HadamardSize(c.queryHeads) == nil
        ? "kind is 'across_heads' \(at), expected 'blocks' or 'full': there is no Hadamard matrix for "
          + "\(c.queryHeads) heads" : nil
    }
  }
}

/// One entry of the array, read strictly: a key that nobody reads could change every number.
private struct RotationEntry {
  let key: String
  private let source: String
  private let object: JSONObject

  init(_ value: JSONValue, _ key: String, _ source: String) throws(ModelError) {
    guard let object = value.object else { throw ModelError(source, "\(key) is \(value.kind), expected an object") }
    self.key = key
    self.source = source
    self.object = object
    let known = ["site", "kind", "block", "signs", "layers"]
    if let unknown = object.keys.first(where: { !known.contains($0) }) {
      throw ModelError(source, "\(key) has an unknown key '\(unknown)', expected \(known.joined(separator: ", "))")
    }
  }

  func site() throws(ModelError) -> OnlineTransforms.Site {
    let known = OnlineTransforms.Site.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
    guard let name = object["site"]?.string, let site = OnlineTransforms.Site(rawValue: name) else {
      throw refusal("site", expected: known)
    }
    return site
  }

  func rotation() throws(ModelError) -> OnlineRotation {
    let kind: OnlineRotation.Kind
    switch object["kind"]?.string {
    case "blocks":
      guard case .integer(let block) = object["block"] else { throw refusal("block", expected: "16, 32, 64 or 128") }
      kind = .blocks(block)
    case "full": kind = .full
    case "across_heads": kind = .acrossHeads
    default: throw refusal("kind", expected: "'blocks', 'full', 'across_heads'")
    }
    if kind == .full || kind == .acrossHeads, object["block"] != nil {
      throw refusal("block", expected: "none beside this kind")
    }
    guard let signs = object["signs"] else { return OnlineRotation(kind) }
    guard let text = signs.string, let seed = UInt64(text), String(seed) == text else {
      throw refusal("signs", expected: "a seed in decimal digits, as a string")
    }
    return OnlineRotation(kind, signSeed: seed)
  }

  func layers() throws(ModelError) -> [Int] {
    guard let values = object["layers"]?.array, !values.isEmpty else {
      throw refusal("layers", expected: "an array of layer numbers")
    }
    var layers: [Int] = []
    for value in values {
      guard case .integer(let layer) = value else { throw refusal("layers", expected: "an array of layer numbers") }
      layers.append(layer)
    }
    return layers
  }

  private func refusal(_ name: String, expected: String) -> ModelError {
    guard let found = object[name] else { return ModelError(source, "\(key).\(name) is missing, expected \(expected)") }
    let shown =
      switch found {
      case .string(let text): "'\(text)'"
      case .integer(let number): "\(number)"
      default: found.kind
      }
    return ModelError(source, "\(key).\(name) is \(shown), expected \(expected)")
  }
}
