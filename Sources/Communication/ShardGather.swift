public import Tensors

/// Whole units from the shards of their owners, on every rank.
///
/// Bytes are copied, never computed with, so gather(encode(rows)) = encode(gather(rows)): every rank, the owner
/// included, holds the same bytes. One rank copies shard to full, whose layouts are equal there; memory that is
/// already the same (a second name) may be passed as both.
public final class ShardGather {
  private let communicator: Communicator
  private let staging: ShardStaging

  public init(_ communicator: Communicator, staging: ShardStaging) {
    self.communicator = communicator
    self.staging = staging
  }

  /// fp32 rows: `shard` is this rank's, `full` receives the unit (any shape of its element count).
  public func gatherRows(
    _ shard: borrowing Tensor, of unit: RowShards, into full: inout Tensor
  ) throws(CommunicationError) {
    precondition(shard.count == unit.elementCount(ofRank: communicator.rank) && full.count == unit.elementCount,
      "rank \(communicator.rank): a shard of \(shard.count) elements into \(full.count); expected "
        + "\(unit.elementCount(ofRank: communicator.rank)) into \(unit.elementCount)")
    unsafe try gather(
      unit, first: .elements(size: 4), shard.unsafeAddress(), full.unsafeMutableAddress(), second: nil, nil, nil)
  }

  /// Codes and scales of a block format, in one message a rank: this rank's planes in, the unit's planes out.
  public func gatherPacked(
    codes: borrowing HostBuffer<UInt8>, scales: borrowing HostBuffer<UInt8>, of unit: RowShards,
    intoCodes: inout HostBuffer<UInt8>, scales intoScales: inout HostBuffer<UInt8>
  ) throws(CommunicationError) {
    let rank = communicator.rank
    precondition(codes.count == unit.elementCount(ofRank: rank) && scales.count == unit.scaleCount(ofRank: rank),
      "rank \(rank): a shard of \(codes.count) codes and \(scales.count) scales; expected "
        + "\(unit.elementCount(ofRank: rank)) and \(unit.scaleCount(ofRank: rank))")
    precondition(intoCodes.count == unit.elementCount && intoScales.count == unit.scaleCount,
      "a unit of \(intoCodes.count) codes and \(intoScales.count) scales; expected \(unit.elementCount) and "
        + "\(unit.scaleCount)")
    unsafe try gatherPacked(
      codes: codes.unsafeAddress(), scales: scales.unsafeAddress(), of: unit,
      intoCodes: intoCodes.unsafeMutableAddress(), scales: intoScales.unsafeMutableAddress())
  }

  /// The same on raw planes, for units whose planes are leases inside a larger plan.
  package func gatherPacked(
    codes: UnsafeRawPointer, scales: UnsafeRawPointer, of unit: RowShards,
    intoCodes: UnsafeMutableRawPointer, scales intoScales: UnsafeMutableRawPointer
  ) throws(CommunicationError) {
    unsafe try gather(unit, first: .elements(size: 1), codes, intoCodes, second: .scales, scales, intoScales)
  }

  /// One or two planes: rank r's message is its rows of the first, then of the second.
  private func gather(
    _ unit: RowShards,
    first: RowShards.Plane, _ firstShard: UnsafeRawPointer, _ firstFull: UnsafeMutableRawPointer,
    second: RowShards.Plane?, _ secondShard: UnsafeRawPointer?, _ secondFull: UnsafeMutableRawPointer?
  ) throws(CommunicationError) {
    staging.check(unit, on: communicator)
    let rank = communicator.rank
    if communicator.size == 1 {
      unsafe firstFull.copyMemory(from: firstShard, byteCount: byteCount(of: unit, first, rank: 0))
      if let second, let secondShard = unsafe secondShard, let secondFull = unsafe secondFull {
        unsafe secondFull.copyMemory(from: secondShard, byteCount: byteCount(of: unit, second, rank: 0))
      }
      return
    }

    let wire = unsafe UnsafeMutableRawPointer(staging.packed.unsafeMutableAddress())
    var offset = 0
    for owner in 0..<communicator.size {
      let firstBytes = byteCount(of: unit, first, rank: owner)
      let secondBytes = second.map { byteCount(of: unit, $0, rank: owner) } ?? 0
      staging.sendCounts[owner] = Int64(firstBytes + secondBytes)
      if owner == rank {
        unsafe (wire + offset).copyMemory(from: firstShard, byteCount: firstBytes)
        if let secondShard = unsafe secondShard {
          unsafe (wire + offset + firstBytes).copyMemory(from: secondShard, byteCount: secondBytes)
        }
      }
      offset += firstBytes + secondBytes
    }
    unsafe try communicator.allGather(.weights, own: nil, into: wire, counts: staging.sendCounts.unsafeAddress())

    offset = 0
    for owner in 0..<communicator.size {
      offset += unsafe unit.copyShard(ofRank: owner, first, fromShard: wire + offset, toFull: firstFull)
      if let second, let secondFull = unsafe secondFull {
        offset += unsafe unit.copyShard(ofRank: owner, second, fromShard: wire + offset, toFull: secondFull)
      }
    }
  }

  private func byteCount(of unit: RowShards, _ plane: RowShards.Plane, rank: Int) -> Int {
    switch plane {
    case .elements(let size): unit.elementCount(ofRank: rank) * size
    case .scales: unit.scaleCount(ofRank: rank)
    }
  }
}
