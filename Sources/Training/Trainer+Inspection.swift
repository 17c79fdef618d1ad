package import Communication
package import Tensors

/// The weights that ranks hold in common, to look into and to damage.
extension Trainer {
  package var unitCount: Int { state.units.count }

  /// Bytes of this rank by purpose, known before the first step.
  package var reservedBytes: [(purpose: String, bytes: Int)] { memory.byPurpose }

  /// Is called when a unit's weights have come from their owners, before anything reads them.
  package var onArrival: ((_ unit: Int) -> Void)? {
    get { weights.onArrival }
    set { weights.onArrival = newValue }
  }

  /// Of what every rank must hold alike: what a check compares where all weights stay in memory.
  package var commonDigest: ContentDigest {
    var digest = WeightDigest()
    for unit in state.units.indices { digest.absorb(weights, unit) }
    return digest.value
  }

  /// This rank's replica of a unit; nothing happens on other wires.
  package func withReplica(ofUnit unit: Int, _ body: (inout Tensor) -> Void) {
    if let replica = weights.messages.replica { body(&replica.units[unit].values) }
  }

  /// The codes of a unit as this rank computes with them, tensor after tensor.
  package func withCodes(ofUnit unit: Int, _ body: (inout HostBuffer<UInt8>) -> Void) {
    if !weights.units[unit].quantized.isEmpty { body(&weights.places.slot(0, ofUnit: unit).codes.bytes) }
  }
}
