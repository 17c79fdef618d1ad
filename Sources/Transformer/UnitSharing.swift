/// Which units of a model have memory of their own.
public enum UnitSharing: Sendable, Hashable {
  /// Each has its own.
  case everyUnit
  /// All layers lie in one place, one at a time, and so do an embedding and a head that are two matrices: the memory does
  /// not grow with the number of layers. Whoever runs the model brings every unit in before its use (``UnitVisitor``).
  case layers
}
