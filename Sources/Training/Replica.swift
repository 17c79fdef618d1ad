import Communication
import Kernels
import Tensors

/// What every rank holds of the masters under 4-bit differences (SDP4Bit's qWD, arXiv 2410.15526, section 3.1).
///
/// The owner sends codes of D = M - R, its masters less the replica, and every rank, the owner too, adds the same decoded
/// bytes: R' = R + Q(D). What was lost, D - Q(D), is part of the next difference, so the error does not grow with time.
/// The replicas are equal to the bit, and they are state: a resumed run needs them.
final class Replica {
  /// Per unit, in the layout of the unit.
  let units: [TensorBox]
  private let codec = WeightWire.deltaCodec
  private var difference: Tensor
  private var decoded: Tensor

  init(_ units: [RowShards], in arena: Arena) {
    let codec = self.codec
    self.units = units.map { TensorBox(rows: 1, columns: $0.elementCount, in: arena) }
    let longest = units.flatMap { unit in
      (0..<unit.ranks).flatMap { unit.runs(ofRank: $0).map(\.elementCount) }
    }.max() ?? 0
    difference = Tensor(rows: 1, columns: longest, in: arena)
    decoded = Tensor(rows: 1, columns: codec.paddedCount(longest), in: arena)
  }

  func byteCount(_ unit: RowShards, ofRank rank: Int) -> Int {
    unit.runs(ofRank: rank).reduce(0) { $0 + codec.byteCount(of: $1.elementCount) }
  }

  /// Writes the codes of this rank's differences.
  ///
  /// - Parameter master: its rows, run after run.
  func encode(_ unit: Int, _ master: UnsafePointer<Float>, _ runs: [RowShards.Run], to message: UnsafeMutableRawPointer) {
    var offset = 0
    for run in runs {
      let n = run.elementCount
      unsafe FlatRows.subtract(
        master + run.shardOffset, units[unit].values.unsafeAddress() + run.fullOffset, count: n,
        into: difference.unsafeMutableAddress())
      unsafe codec.pack(difference.unsafeAddress(), count: n, to: message + offset, rotated: false)
      offset += codec.byteCount(of: n)
    }
  }

  /// Adds what a rank sent.
  func add(_ message: UnsafeRawPointer, to unit: Int, _ runs: [RowShards.Run]) {
    var offset = 0
    for run in runs {
      let n = run.elementCount
      unsafe codec.unpack(message + offset, count: n, into: decoded.unsafeMutableAddress(), accumulate: false)
      var target = units[unit].values.region(run.fullOffset, rows: 1, columns: n)
      target.accumulate(decoded.region(0, rows: 1, columns: n))
      offset += codec.byteCount(of: n)
    }
  }
}
