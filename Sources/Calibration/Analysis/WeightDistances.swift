import Tensors
public import Transformer

/// How far a model's weights lie from those it began with, tensor by tensor: ‖Ŵ - W‖² and ‖W‖², summed in double in the
/// order of the elements.
public struct WeightDistances: Sendable, Hashable {
  public struct Tensor: Sendable, Hashable {
    public let name: String
    /// ‖Ŵ - W‖²
    public let difference: Double
    /// ‖W‖²
    public let start: Double

    /// t² = ‖Ŵ - W‖² / ‖W‖², HIGGS' measure of a layer's error (arXiv 2411.17525); 0 of nothing, infinite of a
    /// difference from zeros.
    public var relativeError: Double { difference == 0 ? 0 : difference / start }
  }

  public let tensors: [Tensor]

  public init(_ tensors: [Tensor]) { self.tensors = tensors }

  /// Reads the start's tensors in runs of at most 1 Mi elements (or one row): memory beside the candidate is one run.
  ///
  /// - Precondition: the same layout on both sides.
  public init(from start: any ModelSource, to candidate: Parameters) throws {
    precondition(ParameterLayout(start.configuration) == candidate.layout, "distance between models of two shapes")
    let run = Swift.max(1 << 20, candidate.layout.all.map(\.spec.columns).max() ?? 1)
    let values = Tensors.Tensor(rows: 1, columns: run, in: Arena("weight distances"))
    var tensors: [Tensor] = []
    for (unit, spec) in candidate.layout.all {
      var difference = 0.0, norm = 0.0
      let rows = Swift.max(1, run / spec.columns)
      for first in stride(from: 0, to: spec.rows, by: rows) {
        let part = first..<min(first + rows, spec.rows), count = part.count * spec.columns
        var own = values.region(0, rows: part.count, columns: spec.columns)
        do {
          var span = own.mutableSpan
          try start.read(spec, rows: part, into: &span)
        }
        let region = candidate.units[unit].flat.region(
          spec.offset + first * spec.columns, rows: part.count, columns: spec.columns)
        let moved = region.span, from = own.span
        for i in 0..<count {
          let w = Double(from[i]), d = Double(moved[i]) - w
          difference += d * d
          norm += w * w
        }
      }
      tensors.append(Tensor(name: spec.name, difference: difference, start: norm))
    }
    self.init(tensors)
  }

  /// ‖ŵ - w‖ / ‖w‖ over the tensors named, over all if none are.
  public func relativeDistance(over names: Set<String>? = nil) -> Double {
    let (difference, start) = sums(names)
    return difference == 0 ? 0 : (difference / start).squareRoot()
  }

  /// Σ t² over the tensors named.
  public func summedRelativeError(over names: Set<String>) -> Double {
    tensors.reduce(0) { $0 + (names.contains($1.name) ? $1.relativeError : 0) }
  }

  private func sums(_ names: Set<String>?) -> (difference: Double, start: Double) {
    var difference = 0.0, start = 0.0
    for tensor in tensors where names?.contains(tensor.name) ?? true {
      difference += tensor.difference
      start += tensor.start
    }
    return (difference, start)
  }
}
