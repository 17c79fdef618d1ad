/// What becomes of the matches when a text is cut at them.
enum SplitBehavior: String, Sendable {
  case isolated = "Isolated"
  case removed = "Removed"
  case mergedWithPrevious = "MergedWithPrevious"
  case mergedWithNext = "MergedWithNext"
  case contiguous = "Contiguous"

  /// Cuts `text` and calls `emit` with the ranges that remain, in order, none empty.
  /// - Parameter invert: takes what lies between the matches for the matches.
  func cut(_ text: Span<UInt8>, at matcher: Matcher, invert: Bool = false, _ emit: (Range<Int>) -> Void) {
    switch self {
    case .isolated:
      Self.forEachPart(text, matcher) { range, _ in if !range.isEmpty { emit(range) } }
    case .removed:
      Self.forEachPart(text, matcher) { range, isMatch in if isMatch == invert, !range.isEmpty { emit(range) } }
    case .mergedWithPrevious, .mergedWithNext, .contiguous:
      var parts: [(range: Range<Int>, isMatch: Bool)] = []
      Self.forEachPart(text, matcher) { parts.append(($0, $1 != invert)) }
      for range in merged(parts) where !range.isEmpty { emit(range) }
    }
  }

  /// The matches and what lies between them, covering the text.
  private static func forEachPart(_ text: Span<UInt8>, _ matcher: Matcher, _ body: (Range<Int>, Bool) -> Void) {
    var last = 0
    matcher.forEachMatch(in: text) { range in
      if last != range.lowerBound { body(last..<range.lowerBound, false) }
      body(range, true)
      last = range.upperBound
    }
    if last != text.count { body(last..<text.count, false) }
  }

  private func merged(_ parts: [(range: Range<Int>, isMatch: Bool)]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    var previousIsMatch = false
    switch self {
    case .mergedWithNext:
      for part in parts.reversed() {
        if part.isMatch, !previousIsMatch, let last = result.last {
          result[result.count - 1] = part.range.lowerBound..<last.upperBound
        } else {
          result.append(part.range)
        }
        previousIsMatch = part.isMatch
      }
      return result.reversed()
    case .mergedWithPrevious, .contiguous:
      for part in parts {
        let joins = self == .contiguous ? part.isMatch == previousIsMatch : part.isMatch && !previousIsMatch
        if joins, let last = result.last {
          result[result.count - 1] = last.lowerBound..<part.range.upperBound
        } else {
          result.append(part.range)
        }
        previousIsMatch = part.isMatch
      }
      return result
    case .isolated, .removed:
      return parts.map(\.range)
    }
  }
}
