public import Formats
public import Transformer

/// Tensors that share one format, because they are one matrix product: {q, k, v}, {o}, {gate, up}, {down} of a layer.
public struct AllocationGroup: Sendable, Hashable {
  /// A pattern that matches its tensors: `model.layers.3.self_attn.{q,k,v}_proj.weight`.
  public let name: String
  /// Of the model's layout.
  public let unit: Int
  public let tensors: [ParameterSpec]

  public init(unit: Int, tensors: [ParameterSpec]) {
    precondition(!tensors.isEmpty && tensors.allSatisfy { $0.shape.count == 2 }, "a group holds matrices")
    self.unit = unit
    self.tensors = tensors
    name = Self.pattern(tensors.map(\.name))
  }

  /// Parameters in it: what a budget in bits per weight is weighted by.
  public var weights: Int { tensors.reduce(0) { $0 + $1.count } }

  /// Bytes of its tensors in `format`, scales and row tails included.
  public func bytes(in format: MXFormat) -> Int {
    tensors.reduce(0) { $0 + format.packedByteCount(rows: $1.rows, columns: $1.columns) }
  }

  /// The groups of a model in the order of the forward pass; the embedding and the head belong to none.
  ///
  /// - Parameter isQuantized: tensors that get a format at all.
  public static func all(
    of configuration: ModelConfiguration, where isQuantized: (_ tensor: String) -> Bool = { _ in true }
  ) -> [AllocationGroup] {
    let layout = ParameterLayout(configuration)
    let places = Dictionary(uniqueKeysWithValues: layout.all.map { ($0.spec.name, $0) })
    return ProductShape.all(configuration).compactMap { product in
      let tensors = product.tensorNames(layout).compactMap { places[$0] }
        .filter { $0.spec.role == .linear && isQuantized($0.spec.name) }
      guard let first = tensors.first else { return nil }
      return AllocationGroup(unit: first.unit, tensors: tensors.map(\.spec))
    }
  }

  /// What the names have in common, with the alternatives in braces where they differ.
  private static func pattern(_ names: [String]) -> String {
    guard let first = names.first, names.count > 1 else { return names.first ?? "" }
    let characters = names.map(Array.init), shortest = characters.map(\.count).min() ?? 0
    let head = (0..<shortest).first { i in characters.contains { $0[i] != characters[0][i] } } ?? shortest
    let tail = (0..<shortest - head).first { i in
      characters.contains { $0[$0.count - 1 - i] != characters[0][characters[0].count - 1 - i] }
    } ?? shortest - head
    let middles = characters.map { String($0[head..<$0.count - tail]) }
    return first.prefix(head) + "{" + middles.joined(separator: ",") + "}" + first.suffix(tail)
  }
}
