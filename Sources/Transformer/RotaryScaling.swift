#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif
public import Tensors

/// Frequencies of the rotary embedding: θ^(-2i/d), stretched where the configuration says so.
public struct RotaryScaling: Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    case plain
    /// All frequencies divided by `factor` (position interpolation).
    case linear(factor: Double)
    /// Llama 3.1: long wavelengths divided by `factor`, short ones kept, a ramp between.
    case llama3(factor: Double, lowFrequency: Double, highFrequency: Double, originalPositions: Double)
  }

  public var theta: Double
  public var kind: Kind

  init(_ file: ConfigurationFile, source: String) throws(ModelError) {
    let parameters = file.rope_parameters ?? file.rope_scaling
    theta = parameters?.rope_theta ?? file.rope_theta ?? 10000
    if let part = parameters?.partial_rotary_factor ?? file.partial_rotary_factor, part != 1 {
      throw ModelError(source, "partial_rotary_factor \(part) is not supported", hint: "Supported: 1.")
    }
    let name = parameters?.rope_type ?? parameters?.type ?? "default"
    func required(_ value: Double?, _ key: String) throws(ModelError) -> Double {
      guard let value, value > 0 else { throw ModelError(source, "rope_type '\(name)' needs a positive '\(key)'") }
      return value
    }
    switch name {
    case "default": kind = .plain
    case "linear": kind = .linear(factor: try required(parameters?.factor, "factor"))
    case "llama3":
      kind = .llama3(
        factor: try required(parameters?.factor, "factor"),
        lowFrequency: try required(parameters?.low_freq_factor, "low_freq_factor"),
        highFrequency: try required(parameters?.high_freq_factor, "high_freq_factor"),
        originalPositions: try required(
          parameters?.original_max_position_embeddings ?? file.max_position_embeddings.map(Double.init),
          "original_max_position_embeddings"))
    default:
      throw ModelError(source, "rope_type '\(name)' is not supported", hint: "Supported: default, linear, llama3.")
    }
  }

  /// Angular frequency of pair `i` of `d / 2`, in radians a position.
  public func frequency(_ i: Int, headDimension d: Int) -> Double {
    let base = pow(theta, -2 * Double(i) / Double(d))
    switch kind {
    case .plain: return base
    case .linear(let factor): return base / factor
    case .llama3(let factor, let low, let high, let original):
      let wavelength = 2 * Double.pi / base
      if wavelength < original / high { return base }
      if wavelength > original / low { return base / factor }
      let smooth = (original / wavelength - low) / (high - low)
      return (1 - smooth) * base / factor + smooth * base
    }
  }
}

/// cos and sin of every (position, pair): (positions, d / 2) each, computed in double and rounded once.
public final class RotaryTables {
  public let cosines: Tensor
  public let sines: Tensor

  public init(_ scaling: RotaryScaling, positions: Int, headDimension: Int, in arena: Arena) {
    let pairs = headDimension / 2
    var cosines = Tensor(rows: positions, columns: pairs, in: arena)
    var sines = Tensor(rows: positions, columns: pairs, in: arena)
    let frequencies = (0..<pairs).map { scaling.frequency($0, headDimension: headDimension) }
    do {
      var c = cosines.mutableSpan
      for position in 0..<positions {
        for i in 0..<pairs { c[position * pairs + i] = Float(cos(Double(position) * frequencies[i])) }
      }
      var s = sines.mutableSpan
      for position in 0..<positions {
        for i in 0..<pairs { s[position * pairs + i] = Float(sin(Double(position) * frequencies[i])) }
      }
    }
    self.cosines = cosines
    self.sines = sines
  }
}
