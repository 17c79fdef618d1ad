import Communication
import Formats
import Kernels
import Quantization
import Tensors
import Transformer

/// From the owners' masters to the weights every rank computes with.
///
///   publish      owners encode their rows of the quantized tensors in the wire format; codes are gathered, and fp32 rows
///                of everything else. Wire format: the anchor (path via_anchor, 8.25 bit a weight, one gather for all
///                formats), or the format of the pass itself (path direct).
///   materialize  codes -> (slice ->) fp32 weights in the format of the pass, and the operands of low-precision layers,
///                packed from the very codes
///
/// Encoding rows and gathering codes is, to the byte, gathering rows and encoding them: no block crosses a row.
final class WeightPublisher {
  let parameters: Parameters
  let linear: LinearOperators
  let path: ForwardPath
  let scaleRule: ScaleRule

  /// Memory through which units travel, shared with the reduction of gradients.
  let staging: ShardStaging

  private let state: ShardedState
  let gather: ShardGather
  private let slices: [MXFormat: CompiledSlice]
  private let units: [PublishedUnit]
  /// What the codes in slot i hold now, and what the weights hold.
  private var published: [MXFormat?]
  private var materialized: MXFormat?
  /// Whether the operands were packed with those weights: for a step, and not for a validation.
  private var isPacked = false
  /// Whether the layers without codes have packed the weights as they are now.
  private var isDensePrepared = false
  private var sliced: (codes: HostBufferBox, scales: HostBufferBox)

  /// - Parameter slots: formats whose codes must be there together (more than one only where lanes differ).
  init(
    _ parameters: Parameters, _ linear: LinearOperators, _ state: ShardedState, plan: QuantizationPlan, path: ForwardPath, scaleRule: ScaleRule,
    slots: Int, communicator: Communicator, in arena: Arena, staging stagingArena: Arena
  ) {
    let (rank, ranks) = (communicator.rank, communicator.size)
    self.parameters = parameters
    self.linear = linear
    self.state = state
    self.path = path
    self.scaleRule = scaleRule
    units = state.units.enumerated().map { index, shard in
      PublishedUnit(shard, parameters.units[index], plan: plan, slots: slots, rank: rank, ranks: ranks, in: arena)
    }
    staging = ShardStaging(
      for: state.units.map(\.shards) + units.flatMap { [$0.packedShards, $0.denseShards] }, in: stagingArena)
    gather = ShardGather(communicator, staging: staging)
    slices = Self.slices(of: path)
    published = Array(repeating: nil, count: slots)
    // A whole unit is sliced at once: neighbours that are one product must lie together.
    sliced = (
      HostBufferBox(units.map(\.packedShards.elementCount).max() ?? 0, in: arena),
      HostBufferBox(units.map(\.packedShards.scaleCount).max() ?? 0, in: arena)
    )
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

  /// After an update: dense rows are gathered now, codes when they are asked for.
  func mastersChanged() throws {
    for index in published.indices { published[index] = nil }
    materialized = nil
    isPacked = false
    isDensePrepared = false
    for unit in units { try unit.gatherDense(with: gather) }
  }

  /// Packs the weights of the layers that have no codes, if they changed.
  func prepareDense() {
    if isDensePrepared { return }
    for (index, unit) in units.enumerated() where unit.quantized.isEmpty {
      linear.prepare(unit: index, of: parameters) { _ in nil }
    }
    isDensePrepared = true
  }

  /// Gathers the codes from which `format` can be materialized. Collective: every rank asks for the same.
  func publish(_ format: MXFormat) throws { try publishCodes(wireFormat(of: format)) }

  /// Gathers the codes of `wire` itself, whatever the path: what an anchor file will hold.
  func publishCodes(_ wire: MXFormat) throws {
    if published.contains(wire) { return }
    let slot = published.firstIndex(of: nil) ?? published.count - 1
    for unit in units where !unit.quantized.isEmpty {
      try unit.gatherCodes(slot: slot, format: wire, rule: scaleRule, with: gather)
    }
    published[slot] = wire
  }

  /// Makes the weights those of `format`; nothing to do where they are already, or where nothing is quantized.
  ///
  /// - Parameter packs: whether low-precision layers pack them, too. A validation runs in fp32, and stands between two
  ///   steps: rotations that are drawn for every step would be those of the step before.
  func materialize(_ format: MXFormat, packs: Bool = true) {
    if materialized == format && (isPacked || !packs) { return }
    let wire = wireFormat(of: format)
    guard let slot = published.firstIndex(of: wire) else { preconditionFailure("\(format.name) was not published") }
    let slice = wire == format ? nil : slices[format]
    precondition(wire == format || slice != nil, "\(format.name) cannot be cut from \(wire.name)")
    for (index, unit) in units.enumerated() where !unit.quantized.isEmpty {
      unit.materialize(format, slot: slot, slice: slice, codes: sliced.codes, scales: sliced.scales)
      guard packs else { continue }
      linear.prepare(unit: index, of: parameters) { tensor in
        unit.codes(ofTensor: tensor, format, slot: slice == nil ? slot : nil, sliced.codes, sliced.scales)
      }
    }
    materialized = format
    isPacked = packs
  }

  /// Codes of one quantized tensor as gathered, for the anchor.
  func forEachQuantizedTensor(
    in wire: MXFormat, _ body: (_ spec: ParameterSpec, _ codes: Span<UInt8>, _ scales: Span<UInt8>) throws -> Void
  ) throws {
    guard let slot = published.firstIndex(of: wire) else { preconditionFailure("\(wire.name) was not published") }
    for unit in units { try unit.forEachTensor(slot: slot, body) }
  }
}

/// A buffer that a class can own and lend.
final class HostBufferBox {
  var bytes: HostBuffer<UInt8>
  init(_ count: Int, in arena: Arena) { bytes = HostBuffer(count: count, in: arena) }
}

/// One unit's share of the publisher: which of its tensors travel as codes, and where they lie.
private final class PublishedUnit {
  struct Quantized {
    let spec: ParameterSpec
    /// First code and first scale in the unit's planes.
    let codeOffset: Int, scaleOffset: Int
  }

  let quantized: [Quantized]
  /// For every tensor of the unit, which of `quantized` it is.
  private let places: [Int?]
  let packedShards: RowShards
  let denseShards: RowShards

  private let shard: UnitShard
  private let weights: UnitParameters
  private let dense: [ParameterSpec]
  /// (run in the unit's shard, the same rows in the packed or the dense shard)
  private let packedRuns: [(unit: RowShards.Run, own: RowShards.Run)]
  private let denseRuns: [(unit: RowShards.Run, own: RowShards.Run)]
  private let slots: [(codes: HostBufferBox, scales: HostBufferBox)]
  private let ownCodes: HostBufferBox, ownScales: HostBufferBox
  private var denseOwn: Tensor, denseFull: Tensor

  init(
    _ shard: UnitShard, _ weights: UnitParameters, plan: QuantizationPlan, slots slotCount: Int, rank: Int, ranks: Int,
    in arena: Arena
  ) {
    self.shard = shard
    self.weights = weights
    let parameters = shard.layout.parameters
    let packed = parameters.filter { plan.isQuantized($0.name) }
    places = parameters.map { spec in packed.firstIndex { $0.name == spec.name } }
    dense = parameters.filter { !plan.isQuantized($0.name) }
    packedShards = RowShards(packed.map { .init(rows: $0.rows, columns: $0.columns) }, ranks: ranks)
    denseShards = RowShards(dense.map { .init(rows: $0.rows, columns: $0.columns) }, ranks: ranks)
    packedRuns = Self.pair(
      shard.runs.filter { plan.isQuantized(parameters[$0.matrix].name) }, packedShards.runs(ofRank: rank))
    denseRuns = Self.pair(
      shard.runs.filter { !plan.isQuantized(parameters[$0.matrix].name) }, denseShards.runs(ofRank: rank))
    var code = 0, scale = 0
    quantized = packed.map { spec in
      defer {
        code += spec.count
        scale += spec.rows * PackedTensor.blockCount(spec.columns)
      }
      return Quantized(spec: spec, codeOffset: code, scaleOffset: scale)
    }
    let (codeCount, scaleCount) = (packedShards.elementCount, packedShards.scaleCount)
    slots = (0..<(packed.isEmpty ? 0 : slotCount)).map { _ in
      (HostBufferBox(codeCount, in: arena), HostBufferBox(scaleCount, in: arena))
    }
    ownCodes = HostBufferBox(packedShards.elementCount(ofRank: rank), in: arena)
    ownScales = HostBufferBox(packedShards.scaleCount(ofRank: rank), in: arena)
    // A unit without codes is gathered straight into the weights.
    let mixed = !packed.isEmpty
    denseOwn = Tensor(rows: 1, columns: mixed ? denseShards.elementCount(ofRank: rank) : 0, in: arena)
    denseFull = Tensor(rows: 1, columns: mixed ? denseShards.elementCount : 0, in: arena)
  }

  private static func pair(
    _ unit: [RowShards.Run], _ own: [RowShards.Run]
  ) -> [(unit: RowShards.Run, own: RowShards.Run)] {
    precondition(unit.map(\.rows) == own.map(\.rows), "runs of a unit and of its part differ")
    return Array(zip(unit, own))
  }

  func gatherDense(with gather: ShardGather) throws {
    if quantized.isEmpty {
      try gather.gatherRows(shard.master, of: shard.shards, into: &weights.flat)
      return
    }
    for (unit, own) in denseRuns {
      var target = denseOwn.region(own.shardOffset, rows: 1, columns: own.elementCount)
      target.copy(from: shard.master.region(unit.shardOffset, rows: 1, columns: unit.elementCount))
    }
    try gather.gatherRows(denseOwn, of: denseShards, into: &denseFull)
    var offset = 0
    for spec in dense {
      var target = weights.flat.region(spec.offset, rows: 1, columns: spec.count)
      target.copy(from: denseFull.region(offset, rows: 1, columns: spec.count))
      offset += spec.count
    }
  }

  func gatherCodes(slot: Int, format: MXFormat, rule: ScaleRule, with gather: ShardGather) throws {
    for (unit, own) in packedRuns {
      unsafe BlockCodec.quantizeRows(
        rows: own.rows.count, columns: own.columns, from: shard.master.unsafeAddress() + unit.shardOffset,
        codes: ownCodes.bytes.unsafeMutableAddress() + own.shardOffset,
        scales: ownScales.bytes.unsafeMutableAddress() + own.shardScaleOffset, format: format, rule: rule)
    }
    try gather.gatherPacked(
      codes: ownCodes.bytes, scales: ownScales.bytes, of: packedShards, intoCodes: &slots[slot].codes.bytes,
      scales: &slots[slot].scales.bytes)
  }

  func materialize(
    _ format: MXFormat, slot: Int, slice: CompiledSlice?, codes scratch: HostBufferBox, scales scratchScales: HostBufferBox
  ) {
    for tensor in quantized {
      let spec = tensor.spec
      let codes = unsafe slots[slot].codes.bytes.unsafeAddress() + tensor.codeOffset
      let scales = unsafe slots[slot].scales.bytes.unsafeAddress() + tensor.scaleOffset
      let target = unsafe weights.flat.unsafeMutableAddress() + spec.offset
      guard let slice else {
        unsafe BlockCodec.dequantizeRows(
          rows: spec.rows, columns: spec.columns, codes: codes, scales: scales, to: target, format: format)
        continue
      }
      let slicedCodes = unsafe scratch.bytes.unsafeMutableAddress() + tensor.codeOffset
      let slicedScales = unsafe scratchScales.bytes.unsafeMutableAddress() + tensor.scaleOffset
      unsafe BlockCodec.sliceRows(
        rows: spec.rows, columns: spec.columns, codes: codes, scales: scales, toCodes: slicedCodes,
        toScales: slicedScales, slice: slice)
      unsafe BlockCodec.dequantizeRows(
        rows: spec.rows, columns: spec.columns, codes: slicedCodes, scales: slicedScales, to: target, format: format)
    }
  }

  /// Codes of one tensor of the unit as `materialize` left them; nil where it has none.
  ///
  /// - Parameter slot: where they lie as gathered; nil means in the scratch of slices.
  func codes(
    ofTensor index: Int, _ format: MXFormat, slot: Int?, _ scratch: HostBufferBox, _ scratchScales: HostBufferBox
  ) -> WeightCodes? {
    guard let place = places[index] else { return nil }
    let codes = slot.map { slots[$0].codes } ?? scratch, scales = slot.map { slots[$0].scales } ?? scratchScales
    return unsafe WeightCodes(
      format: format, codes: codes.bytes.unsafeAddress() + quantized[place].codeOffset,
      scales: scales.bytes.unsafeAddress() + quantized[place].scaleOffset)
  }

  func forEachTensor(
    slot: Int, _ body: (ParameterSpec, Span<UInt8>, Span<UInt8>) throws -> Void
  ) throws {
    for tensor in quantized {
      let scaleCount = tensor.spec.rows * PackedTensor.blockCount(tensor.spec.columns)
      let codes = slots[slot].codes.bytes.region(tensor.codeOffset..<tensor.codeOffset + tensor.spec.count)
      let scales = slots[slot].scales.bytes.region(tensor.scaleOffset..<tensor.scaleOffset + scaleCount)
      try body(tensor.spec, codes.span, scales.span)
    }
  }
}
