public import Tensors

/// Moving between the full layout, a shard, and the rank-major layout of the wire (shard after shard).
extension RowShards {
  /// The two planes of a unit: numbers that belong to elements, bytes that belong to blocks.
  package enum Plane {
    case elements(size: Int)
    case scales
  }

  /// Copies `rank`'s rows out of the full layout; returns the bytes written at `shard`.
  @discardableResult
  package func copyShard(
    ofRank rank: Int, _ plane: Plane, fromFull full: UnsafeRawPointer, toShard shard: UnsafeMutableRawPointer
  ) -> Int {
    var bytes = 0
    for run in runs(ofRank: rank) {
      let place = place(of: run, plane)
      unsafe (shard + place.shard).copyMemory(from: full + place.full, byteCount: place.count)
      bytes += place.count
    }
    return bytes
  }

  /// Copies `rank`'s rows to their places in the full layout; returns the bytes read at `shard`.
  @discardableResult
  package func copyShard(
    ofRank rank: Int, _ plane: Plane, fromShard shard: UnsafeRawPointer, toFull full: UnsafeMutableRawPointer
  ) -> Int {
    var bytes = 0
    for run in runs(ofRank: rank) {
      let place = place(of: run, plane)
      unsafe (full + place.full).copyMemory(from: shard + place.shard, byteCount: place.count)
      bytes += place.count
    }
    return bytes
  }

  private func place(of run: Run, _ plane: Plane) -> (full: Int, shard: Int, count: Int) {
    switch plane {
    case .elements(let size): (run.fullOffset * size, run.shardOffset * size, run.elementCount * size)
    case .scales: (run.fullScaleOffset, run.shardScaleOffset, run.scaleCount)
    }
  }

  // MARK: Safe faces

  /// A rank's rows of a full unit, for example at the start from weights that every rank has read.
  public func copy(shardOf rank: Int, from full: borrowing Tensor, to shard: inout Tensor) {
    check(full.count, shard.count, rank: rank)
    unsafe copyShard(
      ofRank: rank, .elements(size: 4), fromFull: full.unsafeAddress(), toShard: shard.unsafeMutableAddress())
  }

  /// A rank's rows to their places in a full unit; the other rows stay as they are.
  public func copy(shardOf rank: Int, _ shard: borrowing Tensor, into full: inout Tensor) {
    check(full.count, shard.count, rank: rank)
    unsafe copyShard(
      ofRank: rank, .elements(size: 4), fromShard: shard.unsafeAddress(), toFull: full.unsafeMutableAddress())
  }

  private func check(_ full: Int, _ shard: Int, rank: Int) {
    precondition(full == elementCount && shard == elementCount(ofRank: rank),
      "rank \(rank) of \(ranks): a unit of \(full) elements and a shard of \(shard); "
        + "expected \(elementCount) and \(elementCount(ofRank: rank))")
  }
}
