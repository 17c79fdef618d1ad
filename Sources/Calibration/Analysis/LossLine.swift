import Tensors
public import Transformer

/// The loss along the straight line from the weights a model began with to those it ended with,
/// w(t) = w₀ + t (ŵ - w₀): whether ŵ lies in the basin of w₀, where quadratic reasoning about rounding errors holds
/// (arXiv 2410.14570).
public struct LossLine: Sendable, Hashable {
  public struct Point: Sendable, Hashable {
    public let t: Double
    /// Mean nats a token.
    public let loss: Double

    public init(t: Double, loss: Double) {
      self.t = t
      self.loss = loss
    }
  }

  /// How far along the line the loss stays near the start's.
  public struct Basin: Sendable, Hashable {
    /// The first t at which the loss exceeds the threshold, or the last that was measured.
    public let t: Double
    /// Whether it was exceeded; else the basin reaches at least so far.
    public let isLeft: Bool
  }

  /// Ascending in t, from 0.
  public let points: [Point]

  public init(_ points: [Point]) {
    precondition(points.first?.t == 0 && zip(points, points.dropFirst()).allSatisfy { $0.t < $1.t },
      "points of a line at \(points.map(\.t))")
    self.points = points
  }

  /// Evenly spaced: `count` from 0 to 1, and on with the same step as far as `end`.
  ///
  /// - Precondition: at least two points.
  public static func places(_ count: Int, beyond end: Double = 1) -> [Double] {
    precondition(count >= 2 && end >= 1 && end.isFinite, "\(count) points to \(end)")
    let last = Int((end * Double(count - 1) + 1e-9).rounded(.down))
    return (0...last).map { Double($0) / Double(count - 1) }
  }

  /// The loss between two points is taken to be linear. The loss of the start may rise by `fraction` of itself. A loss
  /// that is not finite leaves the basin at the last point before it.
  public func basin(exceedingBy fraction: Double) -> Basin {
    precondition(fraction >= 0, "basin of \(fraction) of the start's loss")
    let limit = points[0].loss * (1 + fraction)
    guard points[0].loss.isFinite else { return Basin(t: 0, isLeft: true) }
    for (a, b) in zip(points, points.dropFirst()) where !(b.loss <= limit) {
      let share = b.loss.isFinite ? (limit - a.loss) / (b.loss - a.loss) : 0
      return Basin(t: a.t + share * (b.t - a.t), isLeft: true)
    }
    return Basin(t: points[points.count - 1].t, isLeft: false)
  }
}

extension Parameters {
  /// Becomes w₀ + t (ŵ - w₀), as (1 - t) w₀ + t ŵ in double, rounded once: w₀ at t = 0 and ŵ at t = 1, exactly.
  ///
  /// - Parameter start: w₀, read into these parameters on the way.
  /// - Precondition: the same layout everywhere.
  public func interpolate(from start: any ModelSource, to end: Parameters, at t: Double) throws {
    precondition(layout == end.layout, "a line between models of two shapes")
    try start.load(into: self)
    for (unit, target) in zip(units, end.units) {
      var values = unit.flat.region(0, rows: 1, columns: unit.flat.count)
      let ends = target.flat.region(0, rows: 1, columns: unit.flat.count)
      var own = values.mutableSpan
      let other = ends.span
      for i in 0..<other.count { own[i] = Float((1 - t) * Double(own[i]) + t * Double(other[i])) }
    }
  }
}
