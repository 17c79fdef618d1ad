/// Which half of a training pass.
public enum PassDirection: Sendable, Hashable {
  case forward, backward
}

/// Follows a pass through the units of a model, so that their values need not all be in memory at once.
///
/// Legend: L layers; unit 0 is the embedding, units 1 to L are the layers, unit L + 1 is the head.
///
///   forward    willUse 0, 1, ... L, L + 1
///   backward   didComplete L + 1; willUse L, didComplete L; ... willUse 1, didComplete 1; didComplete 0
///
/// The head is used for both directions in one go, and the embedding's gradient needs no weights: neither is asked for a
/// second time. A unit's weights, and its packed operands, must be in place from the return of `willUse` until the next
/// call of it. A tied head multiplies by unit 0, which therefore has memory of its own (``UnitSharing``), and must stay in
/// it until the gradients of unit L + 1 are complete.
///
/// An error ends the pass where it stands: losses and gradients are then undefined.
public protocol UnitVisitor {
  associatedtype Failure: Error

  /// The pass is about to read the weights of a unit. Backward of a recomputed layer reads them for its forward, too.
  func willUse(unit: Int, _ direction: PassDirection) throws(Failure)

  /// The gradient of a unit is final; its memory may be written again after the return. The embedding comes last, a tied
  /// head's part of it included.
  func didComplete(unit: Int) throws(Failure)

  /// Called between the operations of a unit, so that communication in flight progresses while the pass computes. It
  /// must change no weight and no gradient of the unit in use.
  func poll() throws(Failure)
}

extension UnitVisitor {
  public func willUse(unit: Int, _ direction: PassDirection) throws(Failure) {}
  public func didComplete(unit: Int) throws(Failure) {}
  public func poll() throws(Failure) {}
}

/// All weights are in memory: nothing to fetch, nothing to hand over.
public struct ResidentWeights: UnitVisitor {
  public typealias Failure = Never

  public init() {}
}
