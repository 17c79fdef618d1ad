import Communication
import Formats
import Kernels
import Quantization
import Tensors
import Transformer

/// From the owners' masters to the weights every rank computes with, unit by unit.
///
///   begin   lists what a pass will need and starts to gather the first units
///   use     waits for one unit, starts the next, and makes its weights those of a format, packed for low precision
///   poll    lets what is in flight progress while the pass computes
///
/// What travels is the matter of `WeightWire`. Codes travel in the wire format: the anchor (path via_anchor, one gather for
/// all formats), or the format of the pass itself (path direct). Where every rank keeps all weights, a unit is gathered once
/// after an update; where layers share memory, before every use.
///
/// Every rank makes the same calls of `begin` and `use` in the same order, with or without a lane to compute.
final class WeightPublisher {
  let parameters: Parameters
  let linear: LinearOperators
  let path: ForwardPath
  let scaleRule: ScaleRule
  let wire: WeightWire
  let sharing: UnitSharing
  /// Differences are taken to it, and every rank has it; nil on other wires.
  let replica: Replica?

  let units: [UnitTensors]
  private let state: ShardedState
  private let communicator: Communicator
  private let gathers: [PayloadGather]
  private let slices: [MXFormat: CompiledSlice]
  private let history: CodeHistory?
  /// Which place in memory a unit has, and what it holds now.
  private let places: [Int]
  private let sharesPlace: [Bool]
  private var held: [Held]
  private let slots: [[CodeSlot]]
  private let sliced: CodeSlot

  /// The units that the pass in progress still has to gather, in the order of use.
  private var jobs: [(use: Int, unit: Int)] = []
  private var done = 0, started = 0
  private var usesSeen = 0
  private var wanted: [MXFormat] = []
  private var jobFormats: [[MXFormat]]
  private var jobIsDense: [Bool]
  private var simulated: [Int]
  /// The format whose differences of codes have been made for the masters as they are.
  private var preparedFormat: MXFormat?
  /// Units whose replica does not have the last update yet.
  private var isReplicaStale: [Bool]
  /// False until all ranks have had the masters as a whole.
  private var isReplicaSet = false
  /// Takes part in the comparison of ranks while weights pass through.
  var passingDigest: WeightDigest?
  /// Is called when a unit has come.
  var onArrival: ((_ unit: Int) -> Void)?

  /// What a place in memory holds.
  private struct Held {
    var unit = -1
    /// The dense tensors are there.
    var isDense = false
    /// Formats of the codes in the slots.
    var formats: [MXFormat?]
    /// The format of the values of the quantized tensors.
    var values: MXFormat?
    /// What is packed of these values.
    var packed: WeightUses = []

    mutating func clear() {
      unit = -1
      isDense = false
      values = nil
      packed = []
      for index in formats.indices { formats[index] = nil }
    }
  }

  /// - Parameters:
  ///   - slots: formats whose codes must be there together (more than one only where lanes differ).
  ///   - depth: gathers in flight at most.
  init(
    _ parameters: Parameters, _ linear: LinearOperators, _ state: ShardedState, plan: QuantizationPlan, path: ForwardPath,
    scaleRule: ScaleRule, wire: WeightWire, sharing: UnitSharing, slots slotCount: Int, depth: Int,
    communicator: Communicator, in arena: Arena, transit: Arena
  ) throws(CommunicationError) {
    self.parameters = parameters
    self.linear = linear
    self.state = state
    self.path = path
    self.scaleRule = scaleRule
    self.wire = wire
    self.sharing = sharing
    self.communicator = communicator
    let (rank, ranks) = (communicator.rank, communicator.size)
    let units = state.units.enumerated().map { index, shard in
      UnitTensors(shard, parameters.units[index], plan: plan, rank: rank, ranks: ranks)
    }
    self.units = units
    slices = Self.slices(of: path)

    let places = Self.places(units.count, sharing, isTied: parameters.configuration.tiedHead)
    self.places = places
    sharesPlace = places.map { place in places.count { $0 == place } > 1 }
    slots = (0...(places.max() ?? 0)).map { place in
      let sharers = units.indices.filter { places[$0] == place }.map { units[$0] }
      let codes = sharers.map(\.packedShards.elementCount).max() ?? 0
      let scales = sharers.map(\.packedShards.scaleCount).max() ?? 0
      return (0..<(codes == 0 ? 0 : slotCount)).map { _ in
        (HostBufferBox(codes, in: arena), HostBufferBox(scales, in: arena))
      }
    }
    held = slots.map { Held(formats: Array(repeating: nil, count: $0.count)) }
    simulated = Array(repeating: -1, count: slots.count)
    // A whole unit is sliced at once: neighbours that are one product must lie together.
    sliced = (
      HostBufferBox(units.map(\.packedShards.elementCount).max() ?? 0, in: arena),
      HostBufferBox(units.map(\.packedShards.scaleCount).max() ?? 0, in: arena)
    )
    replica = wire == .delta ? Replica(state.units.map(\.shards), in: arena) : nil
    history = wire == .codeDelta ? CodeHistory(units, communicator, in: arena) : nil
    isReplicaStale = Array(repeating: true, count: units.count)

    // Checkpoints gather whole rows in fp32 on the same way.
    let capacity = units.map { unit in
      let codes = (0..<ranks).reduce(0) { $0 + unit.codeBytes(ofRank: $1) + (wire == .codeDelta ? CodeDelta.headerCount : 0) }
      return max(4 * unit.shards.elementCount, slotCount * codes + 4 * unit.denseShards.elementCount)
    }.max() ?? 0
    var gathers: [PayloadGather] = []
    for _ in 0..<max(1, depth) { gathers.append(try PayloadGather(communicator, capacity: capacity, in: transit)) }
    self.gathers = gathers
    jobFormats = gathers.map { _ in [] }
    jobIsDense = gathers.map { _ in false }
  }

  /// One place a unit, or the places of ``UnitSharing/layers``.
  private static func places(_ count: Int, _ sharing: UnitSharing, isTied: Bool) -> [Int] {
    switch sharing {
    case .everyUnit: Array(0..<count)
    case .layers: (0..<count).map { $0 == 0 ? 0 : $0 < count - 1 ? 1 : isTied ? 2 : 0 }
    }
  }

  /// Every slice of the anchor, compiled once: a step builds none.
  private static func slices(of path: ForwardPath) -> [MXFormat: CompiledSlice] {
    guard case .viaAnchor(let anchor) = path else { return [:] }
    var slices: [MXFormat: CompiledSlice] = [:]
    for format in SlicePlan.formatsCut(from: anchor) where format != anchor {
      if let plan = try? SlicePlan(from: anchor, to: format) { slices[format] = CompiledSlice(plan) }
    }
    return slices
  }

  /// The format in which `format` travels.
  func wireFormat(of format: MXFormat) -> MXFormat {
    switch path {
    case .direct: format
    case .viaAnchor(let anchor): anchor
    }
  }

  // MARK: What is known

  /// After an update.
  func mastersChanged() {
    valuesChanged()
    preparedFormat = nil
    for unit in isReplicaStale.indices { isReplicaStale[unit] = true }
  }

  /// After somebody has written into the weights: they have to come again.
  func valuesChanged() {
    precondition(done == jobs.count, "weights change while \(jobs.count - done) units are being gathered")
    for place in held.indices { held[place].clear() }
  }

  /// The masters are not those that ranks have seen, as after loading: the next weights travel as a whole.
  func mastersReplaced() {
    mastersChanged()
    isReplicaSet = false
    history?.forget()
  }

  /// The replica has been read from a checkpoint, and has every update.
  func replicaRestored() {
    isReplicaSet = true
    for unit in isReplicaStale.indices { isReplicaStale[unit] = false }
  }

  // MARK: A pass

  /// Begins a pass whose lanes need `formats`; nil is fp32. Collective.
  ///
  /// - Parameter training: with a backward, in which layers are used a second time.
  func begin(_ formats: some Sequence<MXFormat?>, training: Bool) throws {
    precondition(done == jobs.count, "a pass begins while the one before is under way")
    wanted.removeAll(keepingCapacity: true)
    for case let format? in formats where !wanted.contains(wireFormat(of: format)) {
      wanted.append(wireFormat(of: format))
    }
    try list(training: training)
    // A validation may ask for another format than the step before or after it.
    if let history, !jobs.isEmpty, let format = wanted.first, preparedFormat != format {
      try history.prepare(format, scaleRule)
      preparedFormat = format
    }
    try startMore()
  }

  /// The units that are not there when their turn comes.
  private func list(training: Bool) throws {
    jobs.removeAll(keepingCapacity: true)
    (done, started, usesSeen) = (0, 0, 0)
    for place in held.indices { simulated[place] = held[place].unit }
    let last = units.count - 1
    for use in 0..<(training ? 2 * units.count - 2 : units.count) {
      let unit = use <= last ? use : 2 * last - use, place = places[unit]
      if simulated[place] != unit || !isComplete(unit) && !jobs.contains(where: { $0.unit == unit }) {
        simulated[place] = unit
        if wire != .delta || isReplicaStale[unit] { jobs.append((use, unit)) }
      }
    }
  }

  /// Whether a unit that is in its place has all that the pass wants.
  private func isComplete(_ unit: Int) -> Bool {
    let held = held[places[unit]]
    return held.unit == unit && held.isDense
      && (units[unit].quantized.isEmpty || wanted.allSatisfy { held.formats.contains($0) })
  }

  /// Makes the weights of a unit those of `format` (nil: fp32), as the next in the order of the pass.
  ///
  /// - Parameter uses: what low-precision layers pack them for; nothing in a validation, which runs in fp32.
  /// - Returns: whether they have come anew, rather than being there already.
  @discardableResult
  func use(_ unit: Int, as format: MXFormat?, for uses: WeightUses) throws -> Bool {
    let isFresh = try bring(unit)
    materialize(unit, format, uses)
    return isFresh
  }

  /// The same for a rank that has nothing to compute.
  @discardableResult
  func bring(_ unit: Int) throws -> Bool {
    var isFresh = false
    if done < jobs.count, jobs[done].use == usesSeen {
      precondition(jobs[done].unit == unit, "unit \(unit) is used where \(jobs[done].unit) was announced")
      try finishJob()
      try startMore()
      isFresh = true
    }
    usesSeen += 1
    if wire == .delta { isFresh = derive(unit) }
    precondition(held[places[unit]].unit == unit, "unit \(unit) is used before it was gathered")
    return isFresh
  }

  func poll() throws(CommunicationError) {
    for job in done..<started { try gathers[job % gathers.count].poll() }
  }

  // MARK: Gathering

  private func startMore() throws {
    while started < jobs.count && started - done < gathers.count {
      try startJob(started)
      started += 1
    }
  }

  private func startJob(_ job: Int) throws {
    let index = jobs[job].unit, unit = units[index], buffer = job % gathers.count
    let held = held[places[index]], isFresh = held.unit != index || sharesPlace[index]
    jobFormats[buffer].removeAll(keepingCapacity: true)
    if !unit.quantized.isEmpty {
      for format in wanted where isFresh || !held.formats.contains(format) { jobFormats[buffer].append(format) }
    }
    jobIsDense[buffer] = isFresh || !held.isDense
    let formats = jobFormats[buffer].count, isDense = jobIsDense[buffer]
    unsafe try gathers[buffer].start { rank in
      byteCount(index, ofRank: rank, formats: formats, isDense: isDense)
    } fill: { message in
      unsafe fill(message, index, jobFormats[buffer], isDense: isDense)
    }
  }

  private func byteCount(_ index: Int, ofRank rank: Int, formats: Int, isDense: Bool) -> Int {
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

  /// Bytes of all ranks' messages when every unit is published once in one format.
  var publishedBytes: Int {
    units.indices.reduce(0) { sum, index in
      let unit = units[index]
      return sum + (0..<communicator.size).reduce(0) { bytes, rank in
        switch wire {
        case .codes, .codeDelta: bytes + unit.codeBytes(ofRank: rank) + unit.denseBytes(ofRank: rank)
        case .fp32: bytes + 4 * unit.shards.elementCount(ofRank: rank)
        case .bf16: bytes + 2 * unit.shards.elementCount(ofRank: rank)
        case .delta: bytes + replica!.byteCount(unit.shards, ofRank: rank)
        }
      }
    }
  }

  /// Writes this rank's message.
  private func fill(_ message: UnsafeMutableRawPointer, _ index: Int, _ formats: [MXFormat], isDense: Bool) {
    let unit = units[index], rank = communicator.rank, count = unit.shards.elementCount(ofRank: rank)
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

  private func finishJob() throws {
    let buffer = done % gathers.count, index = jobs[done].unit, unit = units[index], place = places[index]
    let isDense = jobIsDense[buffer]
    if held[place].unit != index { held[place].clear() }
    held[place].unit = index
    held[place].packed = []
    if wire.carriesCodes { reserveSlots(for: jobFormats[buffer], at: place) } else { held[place].values = nil }
    unsafe try gathers[buffer].finish { rank, message, _ in
      var offset = 0
      switch wire {
      case .codes:
        for format in jobFormats[buffer] {
          unsafe unit.place(codes: message + offset, ofRank: rank, into: slot(of: format, at: place))
          offset += unit.codeBytes(ofRank: rank)
        }
        if isDense { unsafe unit.place(dense: message + offset, ofRank: rank) }
      case .codeDelta:
        if let format = jobFormats[buffer].first {
          unsafe try history!.apply(message, ofRank: rank, unit: index, to: slot(of: format, at: place))
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
        if isReplicaSet {
          unsafe replica!.add(message, to: index, unit.shards.runs(ofRank: rank))
        } else {
          unsafe unit.shards.copyShard(
            ofRank: rank, .elements(size: 4), fromShard: message,
            toFull: UnsafeMutableRawPointer(replica!.units[index].values.unsafeMutableAddress()))
        }
      }
    }
    finish(index, buffer)
    done += 1
    onArrival?(index)
    passingDigest?.absorb(self, index)
  }

  /// What every rank does once the rows of a unit are there.
  private func finish(_ index: Int, _ buffer: Int) {
    let unit = units[index], place = places[index]
    switch wire {
    case .codes, .codeDelta: break
    case .fp32, .bf16:
      reserveSlots(for: jobFormats[buffer], at: place)
      for format in jobFormats[buffer] {
        unsafe unit.encode(whole: unit.whole, format, scaleRule, into: slot(of: format, at: place))
      }
    case .delta:
      isReplicaStale[index] = false
      if !isReplicaStale.contains(true) { isReplicaSet = true }
      held[place].clear()
      return
    }
    held[place].isDense = true
  }

  /// Takes a unit's weights from the replica, as far as they are not there; says whether dense ones were not.
  private func derive(_ index: Int) -> Bool {
    let unit = units[index], place = places[index]
    if held[place].unit != index { held[place].clear() }
    held[place].unit = index
    let isFresh = !held[place].isDense
    if isFresh {
      unsafe unit.copyDense(whole: replica!.units[index].values.unsafeAddress())
      held[place].isDense = true
    }
    guard !unit.quantized.isEmpty else { return isFresh }
    for format in wanted where !held[place].formats.contains(format) {
      reserveSlot(for: format, at: place)
      unsafe unit.encode(
        whole: replica!.units[index].values.unsafeAddress(), format, scaleRule, into: slot(of: format, at: place))
    }
    return isFresh
  }

  private func reserveSlots(for formats: [MXFormat], at place: Int) {
    for format in formats { reserveSlot(for: format, at: place) }
  }

  /// Gives a format the first slot that is free, or holds what the pass does not want.
  private func reserveSlot(for format: MXFormat, at place: Int) {
    if held[place].formats.contains(format) { return }
    let free = held[place].formats.firstIndex { $0.map { !wanted.contains($0) } ?? true }
    guard let free else { preconditionFailure("no room for the codes of \(format.name)") }
    held[place].formats[free] = format
  }

  /// The codes that a unit's place holds; nil where there are none.
  func firstSlot(ofUnit unit: Int) -> CodeSlot? { slots[places[unit]].first }

  private func slot(of format: MXFormat, at place: Int) -> CodeSlot {
    guard let index = held[place].formats.firstIndex(of: format) else {
      preconditionFailure("\(format.name) was not published")
    }
    return slots[place][index]
  }

  // MARK: Values

  private func materialize(_ index: Int, _ format: MXFormat?, _ uses: WeightUses) {
    let unit = units[index], place = places[index]
    guard let format, !unit.quantized.isEmpty else {
      if !held[place].packed.isSuperset(of: uses) {
        linear.prepare(unit: index, of: parameters, for: uses) { _ in nil }
        held[place].packed = uses
      }
      return
    }
    let isPacked = held[place].values == format && held[place].packed.isSuperset(of: uses)
    if held[place].values == format && isPacked { return }
    let wire = wireFormat(of: format), slot = slot(of: wire, at: place)
    let slice = wire == format ? nil : slices[format]
    precondition(wire == format || slice != nil, "\(format.name) cannot be cut from \(wire.name)")
    // Cut codes lie in memory that all units use: what is packed from them is cut anew.
    if held[place].values != format || slice != nil {
      unit.materialize(format, from: slot, slice: slice, scratch: sliced)
      if held[place].values != format { held[place].packed = [] }
      held[place].values = format
    }
    if uses.isEmpty { return }
    linear.prepare(unit: index, of: parameters, for: uses) { tensor in
      unit.codes(ofTensor: tensor, format, in: slice == nil ? slot : sliced)
    }
    held[place].packed = uses
  }

  // MARK: Codes of the masters

  /// The codes of a unit's masters in `format`, whatever the wire: what an anchor file will hold. Collective, between
  /// passes; the weights have to come again after it.
  func gatherCodes(ofUnit index: Int, in format: MXFormat) throws {
    precondition(done == jobs.count, "codes are gathered while a pass is under way")
    let unit = units[index], place = places[index]
    if unit.quantized.isEmpty { return }
    held[place].clear()
    history?.forget()
    preparedFormat = nil
    unsafe try gathers[0].start { unit.codeBytes(ofRank: $0) } fill: { message in
      unsafe unit.encode(format, scaleRule, to: message.assumingMemoryBound(to: UInt8.self))
    }
    unsafe try gathers[0].finish { rank, message, _ in unsafe unit.place(codes: message, ofRank: rank, into: slots[place][0]) }
  }

  /// The codes that were gathered last.
  func forEachTensor(
    ofUnit index: Int, _ body: (ParameterSpec, Span<UInt8>, Span<UInt8>) throws -> Void
  ) throws {
    if units[index].quantized.isEmpty { return }
    try units[index].forEachTensor(in: slots[places[index]][0], body)
  }

  // MARK: Rows

  /// Gathers fp32 rows of a unit, between passes: `shard` is this rank's, `full` receives the unit. Collective.
  func gatherRows(_ shard: borrowing Tensor, ofUnit index: Int, into full: inout Tensor) throws {
    precondition(done == jobs.count, "rows are gathered while a pass is under way")
    let shards = units[index].shards, count = shards.elementCount(ofRank: communicator.rank)
    let source = unsafe shard.unsafeAddress(), target = unsafe UnsafeMutableRawPointer(full.unsafeMutableAddress())
    unsafe try gathers[0].start { 4 * shards.elementCount(ofRank: $0) } fill: { message in
      unsafe message.copyMemory(from: source, byteCount: 4 * count)
    }
    unsafe try gathers[0].finish { rank, message, _ in
      unsafe shards.copyShard(ofRank: rank, .elements(size: 4), fromShard: message, toFull: target)
    }
  }

  /// What of a unit all ranks must hold alike: codes, dense tensors, the replica.
  func forEachCommonPart(ofUnit index: Int, _ body: (RawSpan) -> Void) {
    let unit = units[index], place = places[index]
    if let replica {
      unsafe body(replica.units[index].values.region(0, rows: 1, columns: unit.shards.elementCount).span.bytes)
    }
    guard held[place].unit == index else { return }
    if held[place].isDense {
      for spec in unit.dense {
        unsafe body(parameters.units[index].flat.region(spec.offset, rows: 1, columns: spec.count).span.bytes)
      }
    }
    for (number, format) in held[place].formats.enumerated() where format != nil {
      unsafe body(slots[place][number].codes.bytes.region(0..<unit.packedShards.elementCount).span.bytes)
      unsafe body(slots[place][number].scales.bytes.region(0..<unit.packedShards.scaleCount).span.bytes)
    }
  }
}
