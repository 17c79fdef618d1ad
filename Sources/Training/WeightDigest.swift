import Communication
import Tensors
import Transformer

/// A digest of the weights that every rank must hold alike: codes, dense tensors, replicas.
struct WeightDigest {
  private var first: UInt64 = 0, second: UInt64 = 0, length: UInt64 = 0

  var value: ContentDigest { ContentDigest(first: first, second: second, length: length) }

  /// Adds what ranks hold of a unit in common.
  mutating func absorb(_ weights: WeightPublisher, _ index: Int) {
    let unit = weights.units[index], places = weights.places
    if let replica = weights.messages.replica {
      absorb(unsafe replica.units[index].values.region(0, rows: 1, columns: unit.shards.elementCount).span.bytes)
    }
    guard places[index].unit == index else { return }
    if places[index].isDense {
      for spec in unit.dense {
        let values = weights.parameters.units[index].flat.region(spec.offset, rows: 1, columns: spec.count)
        absorb(unsafe values.span.bytes)
      }
    }
    for (number, format) in places[index].formats.enumerated() where format != nil {
      let slot = places.slot(number, ofUnit: index)
      absorb(unsafe slot.codes.bytes.region(0..<unit.packedShards.elementCount).span.bytes)
      absorb(unsafe slot.scales.bytes.region(0..<unit.packedShards.scaleCount).span.bytes)
    }
  }

  /// Order matters: the same parts in another order are other weights.
  private mutating func absorb(_ bytes: RawSpan) {
    let digest = ContentDigest(of: bytes)
    first = (first << 1 | first >> 63) ^ digest.first
    second = (second << 1 | second >> 63) &+ digest.second
    length &+= digest.length
  }
}
