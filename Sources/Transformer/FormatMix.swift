public import Formats

/// The formats of a model's quantized tensors, with how many tensors and weights each holds.
public struct FormatMix: Sendable, Hashable, CustomStringConvertible {
  public struct Share: Sendable, Hashable {
    public let format: MXFormat
    public let tensors: Int
    public let weights: Int
  }

  /// Ascending by width, then in the order of `MXFormat.all`; empty where nothing is quantized.
  public let shares: [Share]

  /// - Parameter formats: format of every quantized tensor, by name.
  public init(_ formats: [String: MXFormat], _ layout: ParameterLayout) {
    var tensors: [MXFormat: Int] = [:], weights: [MXFormat: Int] = [:]
    for (_, spec) in layout.all {
      guard let format = formats[spec.name] else { continue }
      tensors[format, default: 0] += 1
      weights[format, default: 0] += spec.count
    }
    shares = tensors.keys.sorted { Self.place($0) < Self.place($1) }.map {
      Share(format: $0, tensors: tensors[$0] ?? 0, weights: weights[$0] ?? 0)
    }
  }

  public var isMixed: Bool { shares.count > 1 }

  /// The format an anchor is named after: the one that holds most weights, of several with as many the widest.
  public var dominant: MXFormat? {
    shares.max { a, b in
      a.weights != b.weights ? a.weights < b.weights : Self.place(a.format) < Self.place(b.format)
    }?.format
  }

  /// "mxint4"; of several, the narrowest and the widest: "mixed mxint2-mxint8".
  public var description: String {
    guard let first = shares.first, let last = shares.last else { return "fp32" }
    return isMixed ? "mixed \(first.format)-\(last.format)" : first.format.name
  }

  private static func place(_ format: MXFormat) -> (bits: Int, index: Int) {
    (format.bits, MXFormat.all.firstIndex(of: format) ?? MXFormat.all.count)
  }
}
