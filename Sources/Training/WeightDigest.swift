import Communication

/// A digest of the weights that every rank must hold alike.
struct WeightDigest {
  private var first: UInt64 = 0, second: UInt64 = 0, length: UInt64 = 0

  /// Adds what the ranks hold of a unit in common.
  mutating func absorb(_ weights: WeightPublisher, _ unit: Int) {
    weights.forEachCommonPart(ofUnit: unit) { bytes in
      let digest = ContentDigest(of: bytes)
      // Order matters: the same parts in another order are other weights.
      first = (first << 1 | first >> 63) ^ digest.first
      second = (second << 1 | second >> 63) &+ digest.second
      length &+= digest.length
    }
  }

  var value: ContentDigest { ContentDigest(first: first, second: second, length: length) }
}
