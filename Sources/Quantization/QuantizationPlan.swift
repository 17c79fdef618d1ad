public import Formats

/// Which tensors a user wants quantized, before a checkpoint is known: glob patterns over its names.
public struct TensorSelection: Sendable, Hashable {
  /// Tensors that are quantized: those that match one of `include` and none of `exclude`.
  public var include: [String]
  public var exclude: [String]

  /// Linear weights of the decoder layers. Embeddings, output head, norms and biases stay in full precision.
  public static let decoderLinears = [
    "model.layers.*.self_attn.{q,k,v,o}_proj.weight",
    "model.layers.*.mlp.{gate,up,down}_proj.weight",
  ]

  public init(include: [String] = decoderLinears, exclude: [String] = []) {
    self.include = include
    self.exclude = exclude
  }

  /// The plan for a checkpoint with these tensor names.
  ///
  /// Total or nothing: every alternative of every pattern must match at least one name, so that a misspelt projection is
  /// an error and not a layer that quietly stays in full precision.
  ///
  /// - Throws: `QuantizationError` naming the pattern that matches nothing and the nearest name, or saying that the
  ///   exclusions leave nothing.
  public func resolve(_ names: [String], activations: MXFormat? = nil) throws(QuantizationError) -> QuantizationPlan {
    var chosen = Set<String>()
    for text in include {
      chosen.formUnion(try Self.matches(of: GlobPattern(text, for: .include), in: names, .include))
    }
    guard !chosen.isEmpty else {
      throw QuantizationError(.include, expected: "at least one pattern", found: "none")
    }
    for text in exclude {
      chosen.subtract(try Self.matches(of: GlobPattern(text, for: .exclude), in: names, .exclude))
    }
    guard !chosen.isEmpty else {
      throw QuantizationError(
        .exclude, expected: "patterns that leave a tensor to quantize", found: "\(exclude), which exclude every one",
        hint: "for a run without quantization set objective: full_precision")
    }
    return QuantizationPlan(
      quantized: names.filter(chosen.contains), fullPrecision: names.filter { !chosen.contains($0) },
      activations: activations)
  }

  private static func matches(
    of pattern: GlobPattern, in names: [String], _ subject: QuantizationError.Subject
  ) throws(QuantizationError) -> [String] {
    var matches: [String] = []
    for (index, alternative) in pattern.alternatives.enumerated() {
      let found = names.filter { pattern.alternative(index, matches: $0) }
      guard found.isEmpty else {
        matches += found
        continue
      }
      var hint = NearestName.to(alternative, among: names).map { "the nearest name is \($0)" } ?? "there are no tensors"
      if let wider = try? GlobPattern(alternative.replacing("*", with: "**")), names.contains(where: wider.matches) {
        hint += "; '*' stops at a dot, '**' does not"
      }
      let which = pattern.alternatives.count > 1 ? "of which '\(alternative)'" : "which"
      throw QuantizationError(subject, expected: "a pattern that matches a tensor",
                              found: "'\(pattern.text)', \(which) matches none of \(names.count)", hint: hint)
    }
    return matches
  }
}

/// Which tensors of one checkpoint are quantized to the step's format, and which stay in full precision. Every tensor is
/// in exactly one of the two lists; both keep the checkpoint's order.
public struct QuantizationPlan: Sendable, Hashable {
  public let quantized: [String]
  public let fullPrecision: [String]
  /// Format of the inputs of every quantized matmul; nil keeps them in full precision.
  public let activations: MXFormat?
  private let quantizedNames: Set<String>

  /// - Precondition: no name twice, in either list or both.
  public init(quantized: [String], fullPrecision: [String], activations: MXFormat? = nil) {
    let all = Set(quantized).union(fullPrecision)
    precondition(all.count == quantized.count + fullPrecision.count, "a tensor is named twice in the plan")
    self.quantized = quantized
    self.fullPrecision = fullPrecision
    self.activations = activations
    quantizedNames = Set(quantized)
  }

  /// Nothing is quantized.
  public static func fullPrecision(_ names: [String]) -> QuantizationPlan {
    QuantizationPlan(quantized: [], fullPrecision: names)
  }

  public func isQuantized(_ name: String) -> Bool { quantizedNames.contains(name) }
}
