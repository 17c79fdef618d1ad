import Communication
import Formats
import Tensors

/// Messages of code differences for one publication of all units: they are made together, because their sizes must be
/// known everywhere before any of them travels.
final class CodeHistory {
  private let delta: CodeDelta
  private let units: [UnitTensors]
  private let communicator: Communicator
  /// This rank's codes as all ranks hold them, unit after unit, and those that are sent now.
  private var before: HostBuffer<UInt8>
  private var now: HostBuffer<UInt8>
  private var messages: HostBuffer<UInt8>
  private let codeOffsets: [Int], messageOffsets: [Int]
  /// Bytes of the messages: ranks x units.
  private var sizes: HostBuffer<Int64>
  private var sizeCounts: HostBuffer<Int64>, ownSizes: HostBuffer<Int64>
  /// The format that all ranks hold; nil before the first publication.
  private var format: MXFormat?
  private var scratch: HostBuffer<UInt8>

  init(_ units: [UnitTensors], _ communicator: Communicator, in arena: Arena) {
    self.units = units
    self.communicator = communicator
    let rank = communicator.rank
    var code = 0, message = 0
    var codeOffsets: [Int] = [], messageOffsets: [Int] = []
    for unit in units {
      codeOffsets.append(code)
      messageOffsets.append(message)
      let count = unit.codeBytes(ofRank: rank)
      code += count
      message += CodeDelta.capacity(of: count)
    }
    (self.codeOffsets, self.messageOffsets) = (codeOffsets, messageOffsets)
    before = HostBuffer(count: code, in: arena)
    now = HostBuffer(count: code, in: arena)
    messages = HostBuffer(count: message, in: arena)
    let longest = units.flatMap { unit in (0..<communicator.size).map { unit.codeBytes(ofRank: $0) } }.max() ?? 0
    delta = CodeDelta(capacity: longest, in: arena)
    scratch = HostBuffer(count: longest, in: arena)
    sizes = HostBuffer(count: communicator.size * units.count, in: arena)
    ownSizes = HostBuffer(count: units.count, in: arena)
    sizeCounts = HostBuffer(count: communicator.size, in: arena)
    for rank in 0..<communicator.size { sizeCounts[rank] = Int64(units.count) }
  }

  /// Forgets what ranks hold: the next messages are whole codes.
  func forget() { format = nil }

  /// Makes all messages of this rank and tells everybody their sizes. Collective.
  func prepare(_ format: MXFormat, _ rule: ScaleRule) throws {
    let rank = communicator.rank, isSame = self.format == format
    for (index, unit) in units.enumerated() {
      let count = unit.codeBytes(ofRank: rank)
      let current = unsafe now.unsafeMutableAddress() + codeOffsets[index]
      let held = unsafe before.unsafeMutableAddress() + codeOffsets[index]
      unsafe unit.encode(format, rule, to: current)
      let length = unsafe delta.encode(
        current, previous: isSame ? UnsafePointer(held) : nil, count: count,
        to: UnsafeMutableRawPointer(messages.unsafeMutableAddress()) + messageOffsets[index])
      ownSizes[index] = Int64(unit.quantized.isEmpty ? 0 : length)
      unsafe held.update(from: current, count: count)
    }
    self.format = format
    try communicator.allGather(ownSizes, into: &sizes, counts: sizeCounts)
  }

  func byteCount(_ unit: Int, ofRank rank: Int) -> Int { Int(sizes[rank * units.count + unit]) }

  func copyMessage(_ unit: Int, to message: UnsafeMutableRawPointer) {
    unsafe message.copyMemory(
      from: messages.unsafeAddress() + messageOffsets[unit], byteCount: byteCount(unit, ofRank: communicator.rank))
  }

  /// Turns a slot's codes of a rank into those that it sent.
  func apply(_ message: UnsafeRawPointer, ofRank rank: Int, unit index: Int, to slot: CodeSlot) throws {
    let unit = units[index], count = unit.codeBytes(ofRank: rank)
    let codes = unsafe scratch.unsafeMutableAddress()
    unsafe unit.collect(slot, ofRank: rank, to: UnsafeMutableRawPointer(codes))
    do {
      unsafe try delta.decode(message, length: byteCount(index, ofRank: rank), onto: codes, count: count, from: rank)
    } catch {
      // It is this rank's codes that are not as they were, or this rank that cannot read them.
      throw CommunicationError(
        call: error.call, rank: communicator.rank, size: communicator.size, found: error.found, hint: error.hint)
    }
    unsafe unit.place(codes: UnsafeRawPointer(codes), ofRank: rank, into: slot)
  }
}
