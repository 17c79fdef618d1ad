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
/// What travels is the matter of `WeightMessages`. Codes travel in the wire format: the anchor (path via_anchor, one gather
/// for all formats), or the format of the pass itself (path direct). Where every rank keeps all weights, a unit is gathered
/// once after an update; where layers share memory, before every use.
///
/// Every rank makes the same calls of `begin` and `use` in the same order, with or without a lane to compute.
final class WeightPublisher {
  let parameters: Parameters
  let linear: LinearOperators
  let path: ForwardPath
  let scaleRule: ScaleRule
  let sharing: UnitSharing
  let units: [UnitTensors]
  let messages: WeightMessages
  let places: WeightPlaces

  private let communicator: Communicator
  private let gathers: [PayloadGather]
  /// Whether units are gathered ahead of their use.
  private let isAhead: Bool
  private let slices: [MXFormat: CompiledSlice]
  private let sliced: CodeSlot

  /// The units that the pass in progress has to gather, in the order of use: `done` of them have arrived, `started` are on
  /// their way or have.
  private var jobs: [(use: Int, unit: Int)] = []
  private var done = 0, started = 0
  private var usesSeen = 0
  private var wanted: [MXFormat] = []
  /// What the gathers in flight hold.
  private var jobFormats: [[MXFormat]]
  private var jobIsDense: [Bool]
  /// Who will be in each place, while a pass is listed.
  private var holders: [Int]
  /// Takes part in the comparison of ranks while weights pass through.
  var passingDigest: WeightDigest?
  /// Is called when a unit has come.
  var onArrival: ((_ unit: Int) -> Void)?

  /// - Parameters:
  ///   - slots: formats whose codes must be there together (more than one only where lanes differ).
  ///   - depth: gathers in flight at most while others compute; 0 gathers a unit when it is used.
  init(
    _ parameters: Parameters, _ linear: LinearOperators, _ state: ShardedState, plan: QuantizationPlan, path: ForwardPath,
    scaleRule: ScaleRule, wire: WeightWire, sharing: UnitSharing, slots: Int, depth: Int, communicator: Communicator,
    in arena: Arena, transit: Arena
  ) throws(CommunicationError) {
    self.parameters = parameters
    self.linear = linear
    self.path = path
    self.scaleRule = scaleRule
    self.sharing = sharing
    self.communicator = communicator
    let units = state.units.enumerated().map { index, shard in
      UnitTensors(shard, parameters.units[index], plan: plan, rank: communicator.rank, ranks: communicator.size)
    }
    self.units = units
    slices = Self.slices(of: path)
    places = WeightPlaces(units, sharing, isTied: parameters.configuration.tiedHead, slots: slots, in: arena)
    let messages = WeightMessages(wire, units, scaleRule, communicator, in: arena)
    self.messages = messages
    // A whole unit is sliced at once: neighbours that are one product must lie together.
    sliced = (
      HostBufferBox(units.map(\.packedShards.elementCount).max() ?? 0, in: arena),
      HostBufferBox(units.map(\.packedShards.scaleCount).max() ?? 0, in: arena)
    )
    let capacity = units.indices.map { messages.capacity($0, formats: slots) }.max() ?? 0
    var gathers: [PayloadGather] = []
    for _ in 0..<max(1, depth) { gathers.append(try PayloadGather(communicator, capacity: capacity, in: transit)) }
    self.gathers = gathers
    isAhead = depth > 0
    jobFormats = gathers.map { _ in [] }
    jobIsDense = gathers.map { _ in false }
    holders = Array(repeating: -1, count: places.count)
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
    messages.mastersChanged()
  }

  /// After loading: see `WeightMessages`.
  func mastersReplaced() {
    valuesChanged()
    messages.mastersReplaced()
  }

  /// After somebody has written into the weights: they have to come again.
  func valuesChanged() {
    requireIdle("weights change")
    places.clearAll()
  }

  private func requireIdle(_ what: String) {
    precondition(done == jobs.count, "\(what) while \(jobs.count - done) units are being gathered")
  }

  // MARK: A pass

  /// Begins a pass whose lanes need `formats`; nil is fp32. Collective.
  ///
  /// - Parameter training: with a backward, in which layers are used a second time.
  func begin(_ formats: some Sequence<MXFormat?>, training: Bool) throws {
    requireIdle("a pass begins")
    wanted.removeAll(keepingCapacity: true)
    for case let format? in formats where !wanted.contains(wireFormat(of: format)) {
      wanted.append(wireFormat(of: format))
    }
    list(training: training)
    if !jobs.isEmpty { try messages.prepare(wanted.first) }
    try startMore()
  }

  /// Lists the units that will not be there when their turn comes.
  private func list(training: Bool) {
    jobs.removeAll(keepingCapacity: true)
    (done, started, usesSeen) = (0, 0, 0)
    for place in holders.indices { holders[place] = places.holder(ofPlace: place) }
    let last = units.count - 1
    for use in 0..<(training ? 2 * units.count - 2 : units.count) {
      let unit = use <= last ? use : 2 * last - use, place = places.place(of: unit)
      let isListed = jobs.contains { $0.unit == unit }
      if holders[place] == unit && (isListed || isComplete(unit)) { continue }
      holders[place] = unit
      if messages.mustTravel(unit) { jobs.append((use, unit)) }
    }
  }

  /// Whether a unit that is in its place has all that the pass wants.
  private func isComplete(_ unit: Int) -> Bool {
    places[unit].unit == unit && places[unit].isDense
      && (units[unit].quantized.isEmpty || wanted.allSatisfy { places[unit].formats.contains($0) })
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
      if started == done { try startJob() }
      try finishJob()
      try startMore()
      isFresh = true
    }
    usesSeen += 1
    if messages.replica != nil { isFresh = messages.derive(unit, wanted, into: places) }
    precondition(places[unit].unit == unit, "unit \(unit) is used before it was gathered")
    return isFresh
  }

  func poll() throws(CommunicationError) {
    for job in done..<started { try gathers[job % gathers.count].poll() }
  }

  // MARK: Gathers

  private func startMore() throws {
    while isAhead && started < jobs.count && started - done < gathers.count { try startJob() }
  }

  private func startJob() throws {
    let unit = jobs[started].unit, buffer = started % gathers.count
    started += 1
    // What another unit will have replaced by then does not count as held.
    let isFresh = places[unit].unit != unit || places.isShared(unit)
    jobFormats[buffer].removeAll(keepingCapacity: true)
    if !units[unit].quantized.isEmpty {
      for format in wanted where isFresh || !places[unit].formats.contains(format) { jobFormats[buffer].append(format) }
    }
    let formats = jobFormats[buffer], isDense = isFresh || !places[unit].isDense
    jobIsDense[buffer] = isDense
    unsafe try gathers[buffer].start { rank in
      messages.byteCount(unit, ofRank: rank, formats: formats.count, isDense: isDense)
    } fill: { message in
      unsafe messages.write(unit, formats, isDense: isDense, to: message)
    }
  }

  private func finishJob() throws {
    let buffer = done % gathers.count, unit = jobs[done].unit
    let formats = jobFormats[buffer], isDense = jobIsDense[buffer]
    places.take(unit)
    places[unit].packed = []
    if messages.replica == nil {
      for format in formats { places.reserveSlot(for: format, ofUnit: unit, wanted: wanted) }
      if !formats.isEmpty { places[unit].values = nil }
    }
    unsafe try gathers[buffer].finish { rank, message, _ in
      unsafe try messages.read(message, ofRank: rank, unit: unit, formats, isDense: isDense, into: places)
    }
    messages.finish(unit, formats, into: places)
    done += 1
    onArrival?(unit)
    passingDigest?.absorb(self, unit)
  }

  /// Gathers fp32 rows of a unit, between passes: `shard` is this rank's, `full` receives the unit. Collective.
  func gatherRows(_ shard: borrowing Tensor, ofUnit index: Int, into full: inout Tensor) throws {
    requireIdle("rows are gathered")
    let shards = units[index].shards, count = shards.elementCount(ofRank: communicator.rank)
    let source = unsafe shard.unsafeAddress(), target = unsafe UnsafeMutableRawPointer(full.unsafeMutableAddress())
    unsafe try gathers[0].start { 4 * shards.elementCount(ofRank: $0) } fill: { message in
      unsafe message.copyMemory(from: source, byteCount: 4 * count)
    }
    unsafe try gathers[0].finish { rank, message, _ in
      unsafe shards.copyShard(ofRank: rank, .elements(size: 4), fromShard: message, toFull: target)
    }
  }

  /// The codes of a unit's masters in `format`, whatever the wire: what an anchor file will hold. Collective, between
  /// passes; the weights have to come again after it.
  func gatherCodes(
    ofUnit index: Int, in format: MXFormat
  ) throws {
    requireIdle("codes are gathered")
    let unit = units[index]
    if unit.quantized.isEmpty { return }
    places.clear(index)
    messages.codesReplaced()
    unsafe try gathers[0].start { unit.codeBytes(ofRank: $0) } fill: { message in
      unsafe unit.encode(format, scaleRule, to: message.assumingMemoryBound(to: UInt8.self))
    }
    let slot = places.slot(0, ofUnit: index)
    unsafe try gathers[0].finish { rank, message, _ in unsafe unit.place(codes: message, ofRank: rank, into: slot) }
  }

  /// The codes that `gatherCodes` brought last.
  func forEachTensor(
    ofUnit index: Int, _ body: (ParameterSpec, Span<UInt8>, Span<UInt8>) throws -> Void
  ) throws {
    if !units[index].quantized.isEmpty { try units[index].forEachTensor(in: places.slot(0, ofUnit: index), body) }
  }

  // MARK: Values

  /// Writes a unit's values in `format` into the weights, and packs them, as far as that is not done.
  private func materialize(_ index: Int, _ format: MXFormat?, _ uses: WeightUses) {
    let unit = units[index]
    guard let format, !unit.quantized.isEmpty else {
      if !places[index].packed.isSuperset(of: uses) {
        linear.prepare(unit: index, of: parameters, for: uses) { _ in nil }
        places[index].packed = uses
      }
      return
    }
    let isThere = places[index].values == format
    if isThere && places[index].packed.isSuperset(of: uses) { return }
    let wire = wireFormat(of: format), slot = places.slot(of: wire, ofUnit: index)
    let slice = wire == format ? nil : slices[format]
    precondition(wire == format || slice != nil, "\(format.name) cannot be cut from \(wire.name)")
    // Cut codes lie in memory that all units use: what is packed from them is cut anew.
    if !isThere || slice != nil {
      unit.materialize(format, from: slot, slice: slice, scratch: sliced)
      if !isThere { places[index].packed = [] }
      places[index].values = format
    }
    if uses.isEmpty { return }
    linear.prepare(unit: index, of: parameters, for: uses) { tensor in
      unit.codes(ofTensor: tensor, format, in: slice == nil ? slot : sliced)
    }
    places[index].packed = uses
  }
}
