import Tensors

/// The arenas of a trainer, by what they hold: their sizes are known before the first step, and a dry run prints them.
public final class TrainerMemory {
  let weights = Arena("weights")
  let gradients = Arena("gradients")
  let state = Arena("masters, moments, summed gradients")
  let codes = Arena("codes")
  let operands = Arena("packed weights")
  let activations = Arena("activations")
  let communication = Arena("communication")
  let teacher = Arena("teacher")
  let validation = Arena("validation")
  let checkpoint = Arena("copy for checkpoints")

  var arenas: [Arena] {
    [weights, gradients, state, codes, operands, activations, communication, teacher, validation, checkpoint]
  }

  /// Bytes of this rank by purpose, and in all.
  public var byPurpose: [(purpose: String, bytes: Int)] { arenas.map { ($0.name, $0.reservedBytes) } }
  public var totalBytes: Int { arenas.reduce(0) { $0 + $1.reservedBytes } }
}
