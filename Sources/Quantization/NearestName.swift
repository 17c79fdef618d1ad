/// "Did you mean": the known name with the fewest edits to what was written.
public enum NearestName {
  /// The candidate nearest to `name`, the earliest among equals; nil only when there are no candidates.
  ///
  /// Letter case and the difference between `-` and `_` are free. O(count x length^2).
  public static func to(_ name: String, among candidates: some Sequence<String>) -> String? {
    let wanted = folded(name)
    var best: (name: String, distance: Int)?
    for candidate in candidates {
      let distance = editDistance(wanted, folded(candidate))
      if best.map({ distance < $0.distance }) ?? true { best = (candidate, distance) }
    }
    return best?.name
  }

  /// The same, but only if at most half of the letters differ: a suggestion worth printing.
  public static func plausible(for name: String, among candidates: some Sequence<String>) -> String? {
    guard let nearest = to(name, among: candidates) else { return nil }
    let distance = editDistance(folded(name), folded(nearest))
    return distance * 2 <= max(name.utf8.count, nearest.utf8.count) ? nearest : nil
  }

  /// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`
  /// (optimal string alignment distance).
  public static func editDistance(_ a: String, _ b: String) -> Int {
    editDistance(Array(a.utf8), Array(b.utf8))
  }

  private static func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var beforePrevious = [Int](repeating: 0, count: b.count + 1)
    var previous = Array(0...b.count)
    var current = previous
    for i in a.indices {
      current[0] = i + 1
      for j in b.indices {
        var cost = min(previous[j + 1] + 1, current[j] + 1, previous[j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, beforePrevious[j - 1] + 1) }
        current[j + 1] = cost
      }
      (beforePrevious, previous, current) = (previous, current, beforePrevious)
    }
    return previous[b.count]
  }

  private static func folded(_ name: String) -> [UInt8] {
    name.lowercased().utf8.map { $0 == UInt8(ascii: "-") ? UInt8(ascii: "_") : $0 }
  }
}
