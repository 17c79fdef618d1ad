/// Spearman's rank correlation: whether one figure orders things as another does.
public enum RankCorrelation {
  /// Ranks from 1, equal values sharing the mean of theirs: [10, 30, 10] has ranks [1.5, 3, 1.5].
  ///
  /// - Precondition: no NaN.
  public static func ranks(_ values: [Double]) -> [Double] {
    precondition(!values.contains(where: \.isNaN), "ranks of a NaN")
    let order = values.indices.sorted { values[$0] < values[$1] }
    var ranks = [Double](repeating: 0, count: values.count), first = 0
    while first < order.count {
      var end = first + 1
      while end < order.count, values[order[end]] == values[order[first]] { end += 1 }
      // Places first + 1 ... end.
      for place in first..<end { ranks[order[place]] = Double(first + 1 + end) / 2 }
      first = end
    }
    return ranks
  }

  /// Pearson's correlation of the ranks, -1 to 1. nil for fewer than 3 pairs, where it says nothing; for a side whose
  /// values are all equal; and where a value is NaN.
  public static func spearman(_ x: [Double], _ y: [Double]) -> Double? {
    precondition(x.count == y.count, "pairs of \(x.count) and \(y.count) values")
    guard x.count >= 3, !x.contains(where: \.isNaN), !y.contains(where: \.isNaN) else { return nil }
    let a = ranks(x), b = ranks(y), mean = Double(x.count + 1) / 2
    var products = 0.0, squaresA = 0.0, squaresB = 0.0
    for (a, b) in zip(a, b) {
      products += (a - mean) * (b - mean)
      squaresA += (a - mean) * (a - mean)
      squaresB += (b - mean) * (b - mean)
    }
    guard squaresA > 0, squaresB > 0 else { return nil }
    return products / (squaresA * squaresB).squareRoot()
  }
}
