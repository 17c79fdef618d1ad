import Transformer

/// Follows a training pass: weights come in before their use, gradients leave when they are final, and what is in flight
/// is moved on between the operations.
struct TrainingVisit: UnitVisitor {
  typealias Failure = any Error

  let trainer: Trainer

  func willUse(unit: Int, _ direction: PassDirection) throws { try trainer.use(unit, direction) }
  func didComplete(unit: Int) throws { try trainer.reduce(unit) }
  func poll() throws { try trainer.poll() }

  /// The same calls in the same order on a rank that has nothing to compute: in another order ranks would wait for one
  /// another.
  func walk(units: Int) throws {
    for unit in 0..<units { try trainer.bring(unit) }
    try trainer.reduce(units - 1)
    for unit in (1..<units - 1).reversed() {
      try trainer.bring(unit)
      try trainer.reduce(unit)
    }
    try trainer.reduce(0)
  }
}
