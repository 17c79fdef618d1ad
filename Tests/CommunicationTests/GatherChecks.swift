import Communication
import Formats
import Kernels
import Tensors

/// Messages of all ranks to all ranks, in one hop or two.
let gatherChecks: [Check] = [
  Check("gathered rows are the owners' rows") { communicator in
    let arena = Arena("test")
    let unit = RowShards(awkwardUnit, ranks: communicator.size)
    let gather = try PayloadGather(communicator, capacity: 4 * unit.elementCount, in: arena)
    let values = roughFloats(unit.elementCount, stream: 5)
    let full = tensor(values, in: arena)
    var gathered = Tensor(rows: 1, columns: unit.elementCount, in: arena)
    for _ in 0..<2 {
      unsafe try gather.start({ 4 * unit.elementCount(ofRank: $0) }) { own in
        unsafe unit.copyShard(
          ofRank: communicator.rank, .elements(size: 4), fromFull: full.unsafeAddress(), toShard: own)
      }
      try require(!gather.isIdle, "a gather that was started is idle")
      unsafe try gather.finish { rank, bytes, count in
        try requireEqual(count, 4 * unit.elementCount(ofRank: rank))
        unsafe unit.copyShard(
          ofRank: rank, .elements(size: 4), fromShard: bytes, toFull: gathered.unsafeMutableAddress())
      }
      try require(gather.isIdle, "a gather that has finished is not idle")
      try requireEqual(bits(gathered), values.bits)
    }
  },
  Check("gather of encoded rows is the encoding of gathered rows") { communicator in
    for format in MXFormat.all { try checkEncodedGather(communicator, format) }
  },
  Check("gathers in flight, polled in other patterns on other ranks") { communicator in
    // Messages of sizes that change, some of them empty; each rank moves its gathers on as it pleases.
    let arena = Arena("test")
    let gathers = try (0..<2).map { _ in
      try PayloadGather(communicator, capacity: 4000 * communicator.size, in: arena)
    }
    for turn in 0..<12 {
      for (index, gather) in gathers.enumerated() {
        unsafe try gather.start({ length(of: $0, turn, index) }) { own in
          for byte in 0..<length(of: communicator.rank, turn, index) {
            unsafe own.storeBytes(of: content(communicator.rank, turn, index, byte), toByteOffset: byte, as: UInt8.self)
          }
        }
        for _ in 0..<(communicator.rank + turn) % 3 { try gathers[0].poll() }
      }
      let random = CounterRandom(seed: 5, stream: UInt64(communicator.rank))
      for poll in 0..<random.integer(UInt64(turn), below: 8) {
        try gathers[Int(random.word(UInt64(100 * turn) + poll) & 1)].poll()
      }
      for (index, gather) in gathers.enumerated() {
        var next = 0
        unsafe try gather.finish { rank, bytes, count in
          try requireEqual(rank, next)
          next += 1
          let expected = (0..<length(of: rank, turn, index)).map { content(rank, turn, index, $0) }
          let found = unsafe Array(UnsafeRawBufferPointer(start: bytes, count: count))
          try require(found == expected, "turn \(turn), gather \(index): the bytes of rank \(rank) are not its own")
        }
        try requireEqual(next, communicator.size)
      }
    }
  },
  Check("a message that cannot be written leaves the gather as it was") { communicator in
    let gather = try PayloadGather(communicator, capacity: communicator.size, in: Arena("test"))
    do {
      unsafe try gather.start({ _ in 1 }) { _ in throw CheckFailure(description: "on purpose") }
      throw CheckFailure(description: "the error was lost")
    } catch let failure as CheckFailure { try requireEqual(failure.description, "on purpose") }
    try require(gather.isIdle, "a gather that did not start is not idle")
    unsafe try gather.start({ _ in 1 }) { own in unsafe own.storeBytes(of: UInt8(communicator.rank), as: UInt8.self) }
    unsafe try gather.finish { rank, bytes, _ in try requireEqual(unsafe bytes.load(as: UInt8.self), UInt8(rank)) }
  },
  Check("reductions and gathers lease no memory after they were made") { communicator in
    let arena = Arena("test")
    let unit = RowShards(awkwardUnit, ranks: communicator.size)
    let sums = KeptSums([unit], rank: communicator.rank, in: arena)
    var gradient = Tensor(rows: 1, columns: unit.elementCount, in: arena)
    let gather = try PayloadGather(communicator, capacity: 4 * unit.elementCount, in: arena)
    let isEven = communicator.topology?.cross != nil
    for wire in GradientWire.everyCase where wire != .twoLevel || isEven {
      let reducer = try GradientReducer(
        communicator, [unit], lanes: communicator.size, options: .init(wire, feedsBack: true), sink: sums, in: arena)
      let reserved = arena.reservedBytes
      for step in 0..<3 {
        try reducer.reduce(
          &gradient, unit: 0, of: unit, contributors: communicator.size, firstLane: nil, overwrite: true, step: step,
          number: 0)
        try reducer.poll()
        try reducer.drain()
        unsafe try gather.start({ 4 * unit.elementCount(ofRank: $0) }) { _ in }
        unsafe try gather.finish { _, _, _ in }
      }
      try requireEqual(arena.reservedBytes, reserved)
    }
  },
]

extension GradientWire {
  static let everyCase: [GradientWire] = [.exact, .fp32, .bf16, .int8, .twoLevel]
}

private func length(of rank: Int, _ turn: Int, _ gather: Int) -> Int { (rank * 5 + turn * 3 + gather) % 4 * 37 * turn }

private func content(_ rank: Int, _ turn: Int, _ gather: Int, _ byte: Int) -> UInt8 {
  UInt8(truncatingIfNeeded: rank * 41 + turn * 13 + gather * 7 + byte)
}

/// C6: a message is codes and scales of the owner's rows; all of them together are the encoding of the whole.
private func checkEncodedGather(_ communicator: Communicator, _ format: MXFormat) throws {
  let arena = Arena("test")
  let unit = RowShards(awkwardUnit, ranks: communicator.size)
  let full = tensor(roughFloats(unit.elementCount, stream: 6), in: arena)
  let mine = Planes(), whole = Planes()
  for run in unit.runs(ofRank: communicator.rank) {
    mine.encode(full.region(run.fullOffset, rows: run.rows.count, columns: run.columns), format, in: arena)
  }
  var offset = 0
  for matrix in unit.matrices {
    whole.encode(full.region(offset, rows: matrix.rows, columns: matrix.columns), format, in: arena)
    offset += matrix.elementCount
  }
  let gather = try PayloadGather(communicator, capacity: unit.elementCount + unit.scaleCount, in: arena)
  var codes = HostBuffer<UInt8>(count: unit.elementCount, in: arena)
  var scales = HostBuffer<UInt8>(count: unit.scaleCount, in: arena)
  unsafe try gather.start({ unit.elementCount(ofRank: $0) + unit.scaleCount(ofRank: $0) }) { own in
    unsafe own.copyMemory(from: mine.codes, byteCount: mine.codes.count)
    unsafe (own + mine.codes.count).copyMemory(from: mine.scales, byteCount: mine.scales.count)
  }
  unsafe try gather.finish { rank, bytes, _ in
    let codeBytes = unsafe unit.copyShard(
      ofRank: rank, .elements(size: 1), fromShard: bytes, toFull: codes.unsafeMutableAddress())
    unsafe unit.copyShard(ofRank: rank, .scales, fromShard: bytes + codeBytes, toFull: scales.unsafeMutableAddress())
  }
  try requireEqual(array(codes), whole.codes)
  try requireEqual(array(scales), whole.scales)
}

/// Codes and scales of matrices, one after another.
final class Planes {
  private(set) var codes: [UInt8] = []
  private(set) var scales: [UInt8] = []

  func encode(_ rows: borrowing Tensor, _ format: MXFormat, in arena: Arena) {
    var packed = PackedTensor(format, rows: rows.rows, columns: rows.columns, in: arena)
    BlockCodec.quantize(&packed, from: rows)
    codes += array(packed.codes)
    scales += array(packed.scales)
  }
}
