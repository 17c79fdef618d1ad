import Communication
import Kernels
import Tensors
import Transformer

/// The residual stream of this rank's sequences between two layers, and one more activation inside a layer (attention's
/// output, or the residual after it): the only ones that live longer than a sequence.
///
/// Legend: n own sequences of T tokens; D hidden, H·d query width.
final class ResidualStream {
  /// Numbers of this rank's sequences among all, ascending; rank 0's begin with sequence 0.
  let sequences: [Int]
  let length: Int
  private var residual: Tensor  // (n·T, D)
  private var attended: Tensor  // (n·T, H·d), or (n·T, D) where it keeps the residual after attention

  /// What is kept inside a layer.
  enum Inside { case attended, middle }

  init(
    _ c: ModelConfiguration, sequences count: Int, length: Int, keeping inside: Inside = .attended,
    on communicator: Communicator, in arena: Arena
  ) {
    sequences = Array(stride(from: communicator.rank, to: count, by: communicator.size))
    self.length = length
    residual = Tensor(rows: sequences.count * length, columns: c.hiddenSize, in: arena)
    attended = Tensor(rows: sequences.count * length, columns: inside == .attended ? c.queryWidth : c.hiddenSize, in: arena)
  }

  /// Bytes of the stream and of attention's output, for `count` sequences of one rank.
  static func bytes(_ c: ModelConfiguration, sequences count: Int, length: Int) -> Int {
    4 * count * length * (c.hiddenSize + c.queryWidth)
  }

  /// - Parameter index: in ``sequences``.
  func loadResidual(_ index: Int, into x: inout Tensor) { x.copy(from: residual.rows(rows(index))) }
  func loadAttended(_ index: Int, into x: inout Tensor) { x.copy(from: attended.rows(rows(index))) }

  func storeResidual(_ index: Int, _ x: borrowing Tensor) {
    var rows = residual.rows(rows(index))
    rows.copy(from: x)
  }

  func storeAttended(_ index: Int, _ x: borrowing Tensor) {
    var rows = attended.rows(rows(index))
    rows.copy(from: x)
  }

  func loadMiddle(_ index: Int, into x: inout Tensor) { loadAttended(index, into: &x) }
  func storeMiddle(_ index: Int, _ x: borrowing Tensor) { storeAttended(index, x) }

  private func rows(_ index: Int) -> Range<Int> { index * length..<(index + 1) * length }
}
