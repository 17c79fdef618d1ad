import Checkpoints
import Tensors

/// A second home for what a rank saves, so that a thread can write it while training changes the original.
final class StateCopy {
  private let sources: [DenseRows]
  /// Laid out like the sources, one after the other.
  let rows: [DenseRows]
  private let memory: Tensor

  init(of sources: [DenseRows], in arena: Arena) {
    var memory = Tensor(rows: 1, columns: sources.reduce(0) { $0 + $1.count }, in: arena)
    let base = unsafe memory.unsafeMutableAddress()
    var rows: [DenseRows] = [], offset = 0
    for source in sources {
      unsafe rows.append(source.moved(to: base + offset))
      offset += source.count
    }
    (self.sources, self.rows) = (sources, rows)
    self.memory = memory
  }

  /// Takes the values as they are now. Nobody reads the copy meanwhile.
  func take() {
    for (source, copy) in zip(sources, rows) { source.copy(to: copy) }
  }
}
