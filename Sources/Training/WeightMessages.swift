import Communication
import Formats
import Kernels
import Quantization
import Tensors

/// What ranks write for one another of a unit's weights, on each wire, and what they make of it.
final class WeightMessages {
  let wire: WeightWire
  /// Differences are taken to it, and every rank has it; nil on other wires.
  let replica: Replica?

  private let units: [UnitTensors]
  private let rank: Int
  private let scaleRule: ScaleRule
  private let history: CodeHistory?
  /// The format whose differences of codes have been made for the masters as they are.
  private var preparedFormat: MXFormat?
  /// Units whose replica does not have the last update yet.
  private var isReplicaStale: [Bool]
  /// False until all ranks have had the masters as a whole.
  private var isReplicaSet = false

  init(
    _ wire: WeightWire, _ units: [UnitTensors], _ scaleRule: ScaleRule, _ communicator: Communicator, in arena: Arena
  ) {
    self.wire = wire
    self.units = units
    self.scaleRule = scaleRule
    rank = communicator.rank
    replica = wire == .delta ? Replica(units.map(\.shards), in: arena) : nil
    history = wire == .codeDelta ? CodeHistory(units, communicator, in: arena) : nil
    isReplicaStale = Array(repeating: true, count: units.count)
  }

  // MARK: What is known

  /// After an update.
  func mastersChanged() {
    preparedFormat = nil
    for unit in isReplicaStale.indices { isReplicaStale[unit] = true }
  }

  /// The masters are not those that ranks have seen, as after loading: the next messages hold them as a whole.
  func mastersReplaced() {
    mastersChanged()
    isReplicaSet = false
    history?.forget()
  }

  /// The slots no longer hold the codes that were sent last.
  func codesReplaced() {
    preparedFormat = nil
    history?.forget()
  }

  /// The replica has been read from a checkpoint, and has every update.
  func replicaRestored() {
    isReplicaSet = true
    for unit in isReplicaStale.indices { isReplicaStale[unit] = false }
  }

  /// Whether a unit has to travel before its weights can be made.
  func mustTravel(_ unit: Int) -> Bool { wire != .delta || isReplicaStale[unit] }

  /// Makes the messages whose sizes others must know first. Collective, before the first unit of a publication.
  func prepare(_ format: MXFormat?) throws {
    // A validation may ask for another format than the step before or after it.
    guard let history, let format, preparedFormat != format else { return }
    try history.prepare(format, scaleRule)
    preparedFormat = format
  }

  // MARK: Messages

  /// Bytes of a rank's message.
  ///
  /// - Parameters:
  ///   - formats: number of formats whose codes it holds.
  ///   - isDense: whether it holds the tensors that stay in fp32.
  func byteCount(_ index: Int, ofRank rank: Int, formats: Int, isDense: Bool) -> Int {
    let unit = units[index], dense = isDense ? unit.denseBytes(ofRank: rank) : 0
    switch wire {
    case .codes: return formats * unit.codeBytes(ofRank: rank) + dense
    case .codeDelta: return (formats > 0 ? history!.byteCount(index, ofRank: rank) : 0) + dense
    case .fp32: return 4 * unit.shards.elementCount(ofRank: rank)
    case .bf16: return 2 * unit.shards.elementCount(ofRank: rank)
    case .delta:
      return isReplicaSet ? replica!.byteCount(unit.shards, ofRank: rank) : 4 * unit.shards.elementCount(ofRank: rank)
    }
  }

  /// Bytes of all ranks' messages of a unit, at most.
  func capacity(_ index: Int, formats: Int) -> Int {
    let unit = units[index], ranks = unit.shards.ranks
    // Whole rows in fp32 go the same way for checkpoints.
    let codes = (0..<ranks).reduce(0) { sum, rank in
      sum + formats * (unit.codeBytes(ofRank: rank) + (wire == .codeDelta ? CodeDelta.headerCount : 0))
    }
    return max(4 * unit.shards.elementCount, codes + 4 * unit.denseShards.elementCount)
  }

  /// Bytes of every rank's message of a unit once ranks know what came before; code differences are counted as codes, their
  /// upper bound.
  func publishedBytes(ofUnit index: Int, formats: Int = 1, isDense: Bool = true) -> [Int] {
    let unit = units[index]
    return (0..<unit.shards.ranks).map { rank in
      switch wire {
      case .codes, .codeDelta: formats * unit.codeBytes(ofRank: rank) + (isDense ? unit.denseBytes(ofRank: rank) : 0)
      case .fp32: 4 * unit.shards.elementCount(ofRank: rank)
      case .bf16: 2 * unit.shards.elementCount(ofRank: rank)
      case .delta: replica!.byteCount(unit.shards, ofRank: rank)
      }
    }
  }

  /// Writes this rank's message.
  func write(_ index: Int, _ formats: [MXFormat], isDense: Bool, to message: UnsafeMutableRawPointer) {
    let unit = units[index], count = unit.shards.elementCount(ofRank: rank)
    switch wire {
    case .codes:
      var offset = 0
      for format in formats {
        unsafe unit.encode(format, scaleRule, to: (message + offset).assumingMemoryBound(to: UInt8.self))
        offset += unit.codeBytes(ofRank: rank)
      }
      if isDense { unsafe unit.copyDense(to: message + offset) }
    case .codeDelta:
      if !formats.isEmpty { unsafe history!.copyMessage(index, to: message) }
      let offset = formats.isEmpty ? 0 : history!.byteCount(index, ofRank: rank)
      if isDense { unsafe unit.copyDense(to: message + offset) }
    case .fp32:
      unsafe message.copyMemory(from: unit.master, byteCount: 4 * count)
    case .bf16:
      unsafe BrainFloat.round(unit.master, count: count, into: message.assumingMemoryBound(to: UInt16.self))
    case .delta:
      guard isReplicaSet else { return unsafe message.copyMemory(from: unit.master, byteCount: 4 * count) }
      unsafe replica!.encode(index, unit.master, unit.runs, to: message)
    }
  }

  /// Puts a rank's message where it belongs: codes into slots, rows into the weights or the replica.
  func read(
    _ message: UnsafeRawPointer, ofRank rank: Int, unit index: Int, _ formats: [MXFormat], isDense: Bool,
    into places: WeightPlaces
  ) throws {
    let unit = units[index]
    switch wire {
    case .codes:
      var offset = 0
      for format in formats {
        unsafe unit.place(codes: message + offset, ofRank: rank, into: places.slot(of: format, ofUnit: index))
        offset += unit.codeBytes(ofRank: rank)
      }
      if isDense { unsafe unit.place(dense: message + offset, ofRank: rank) }
    case .codeDelta:
      var offset = 0
      if let format = formats.first {
        unsafe try history!.apply(message, ofRank: rank, unit: index, to: places.slot(of: format, ofUnit: index))
        offset = history!.byteCount(index, ofRank: rank)
      }
      if isDense { unsafe unit.place(dense: message + offset, ofRank: rank) }
    case .fp32:
      unsafe unit.shards.copyShard(
        ofRank: rank, .elements(size: 4), fromShard: message, toFull: UnsafeMutableRawPointer(unit.whole))
    case .bf16:
      for run in unit.shards.runs(ofRank: rank) {
        unsafe BrainFloat.widen(
          (message + 2 * run.shardOffset).assumingMemoryBound(to: UInt16.self), count: run.elementCount,
          into: unit.whole + run.fullOffset)
      }
    case .delta:
      guard isReplicaSet else {
        unsafe unit.shards.copyShard(
          ofRank: rank, .elements(size: 4), fromShard: message,
          toFull: UnsafeMutableRawPointer(replica!.units[index].values.unsafeMutableAddress()))
        return
      }
      unsafe replica!.add(message, to: index, unit.shards.runs(ofRank: rank))
    }
  }

  /// What every rank does once all messages of a unit have been read.
  func finish(_ index: Int, _ formats: [MXFormat], into places: WeightPlaces) {
    switch wire {
    case .codes, .codeDelta: places[index].isDense = true
    case .fp32, .bf16:
      for format in formats {
        unsafe units[index].encode(
          whole: units[index].whole, format, scaleRule, into: places.slot(of: format, ofUnit: index))
      }
      places[index].values = nil
      places[index].isDense = true
    case .delta:
      isReplicaStale[index] = false
      if !isReplicaStale.contains(true) { isReplicaSet = true }
      places.clear(index)
    }
  }

  /// Takes a unit's weights from the replica, as far as they are not there; says whether dense ones were not.
  func derive(_ index: Int, _ wanted: [MXFormat], into places: WeightPlaces) -> Bool {
    guard let replica else { return false }
    let unit = units[index]
    places.take(index)
    let isFresh = !places[index].isDense
    if isFresh {
      unsafe unit.copyDense(whole: replica.units[index].values.unsafeAddress())
      places[index].isDense = true
    }
    if unit.quantized.isEmpty { return isFresh }
    for format in wanted where !places[index].formats.contains(format) {
      places.reserveSlot(for: format, ofUnit: index, wanted: wanted)
      unsafe unit.encode(
        whole: replica.units[index].values.unsafeAddress(), format, scaleRule,
        into: places.slot(of: format, ofUnit: index))
    }
    return isFresh
  }
}
