import Communication
import Formats
import Kernels
import Quantization
import Tensors
import Transformer

/// A buffer that a class can own and lend.
final class HostBufferBox {
  var bytes: HostBuffer<UInt8>
  init(_ count: Int, in arena: Arena) { bytes = HostBuffer(count: count, in: arena) }
}

/// Codes and scales of a unit's quantized tensors, in memory that units may share.
typealias CodeSlot = (codes: HostBufferBox, scales: HostBufferBox)

/// Which tensors of a unit travel as codes and which in fp32, and where they lie: on the wire, in the slots, in the weights.
///
/// A rank's message of codes is the codes of its rows, tensor after tensor, then their scales; of dense rows the same in
/// fp32.
final class UnitTensors {
  struct Quantized {
    let spec: ParameterSpec
    /// First code and first scale in the unit's planes.
    let codeOffset: Int, scaleOffset: Int
  }

  let quantized: [Quantized]
  let dense: [ParameterSpec]
  let packedShards: RowShards
  let denseShards: RowShards

  private let shard: UnitShard
  private let weights: UnitParameters
  /// For every tensor of the unit, which of `quantized` it is.
  private let places: [Int?]
  /// (run in the unit's shard, the same rows in the packed or the dense shard)
  private let packedRuns: [(unit: RowShards.Run, own: RowShards.Run)]
  private let denseRuns: [(unit: RowShards.Run, own: RowShards.Run)]

  init(_ shard: UnitShard, _ weights: UnitParameters, plan: QuantizationPlan, rank: Int, ranks: Int) {
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
  }

  private static func pair(
    _ unit: [RowShards.Run], _ own: [RowShards.Run]
  ) -> [(unit: RowShards.Run, own: RowShards.Run)] {
    precondition(unit.map(\.rows) == own.map(\.rows), "runs of a unit and of its part differ")
    return Array(zip(unit, own))
  }

  var shards: RowShards { shard.shards }
  func codeBytes(ofRank rank: Int) -> Int { packedShards.elementCount(ofRank: rank) + packedShards.scaleCount(ofRank: rank) }
  func denseBytes(ofRank rank: Int) -> Int { 4 * denseShards.elementCount(ofRank: rank) }

  // MARK: Codes

  /// Encodes this rank's rows in `format`.
  func encode(_ format: MXFormat, _ rule: ScaleRule, to message: UnsafeMutablePointer<UInt8>) {
    let codeCount = packedRuns.reduce(0) { $0 + $1.own.elementCount }
    for (unit, own) in packedRuns {
      unsafe BlockCodec.quantizeRows(
        rows: own.rows.count, columns: own.columns, from: shard.master.unsafeAddress() + unit.shardOffset,
        codes: message + own.shardOffset, scales: message + codeCount + own.shardScaleOffset, format: format, rule: rule)
    }
  }

  /// Puts a rank's message of codes into a slot.
  func place(codes message: UnsafeRawPointer, ofRank rank: Int, into slot: CodeSlot) {
    let used = unsafe packedShards.copyShard(
      ofRank: rank, .elements(size: 1), fromShard: message, toFull: slot.codes.bytes.unsafeMutableAddress())
    unsafe packedShards.copyShard(
      ofRank: rank, .scales, fromShard: message + used, toFull: slot.scales.bytes.unsafeMutableAddress())
  }

  /// The message that would have put a rank's codes there.
  func collect(_ slot: CodeSlot, ofRank rank: Int, to message: UnsafeMutableRawPointer) {
    let used = unsafe packedShards.copyShard(
      ofRank: rank, .elements(size: 1), fromFull: slot.codes.bytes.unsafeAddress(), toShard: message)
    unsafe packedShards.copyShard(
      ofRank: rank, .scales, fromFull: slot.scales.bytes.unsafeAddress(), toShard: message + used)
  }

  /// Encodes whole tensors, from rows laid out as the unit is.
  func encode(whole values: UnsafePointer<Float>, _ format: MXFormat, _ rule: ScaleRule, into slot: CodeSlot) {
    for tensor in quantized {
      unsafe BlockCodec.quantizeRows(
        rows: tensor.spec.rows, columns: tensor.spec.columns, from: values + tensor.spec.offset,
        codes: slot.codes.bytes.unsafeMutableAddress() + tensor.codeOffset,
        scales: slot.scales.bytes.unsafeMutableAddress() + tensor.scaleOffset, format: format, rule: rule)
    }
  }

  // MARK: Dense rows

  /// Copies this rank's rows of the tensors that stay in fp32.
  func copyDense(to message: UnsafeMutableRawPointer) {
    for (unit, own) in denseRuns {
      unsafe (message + 4 * own.shardOffset)
        .copyMemory(from: shard.master.unsafeAddress() + unit.shardOffset, byteCount: 4 * own.elementCount)
    }
  }

  /// Puts a rank's dense rows into the weights.
  func place(dense message: UnsafeRawPointer, ofRank rank: Int) {
    let target = unsafe UnsafeMutableRawPointer(weights.flat.unsafeMutableAddress())
    for run in denseShards.runs(ofRank: rank) {
      let first = dense[run.matrix].offset + run.rows.lowerBound * run.columns
      unsafe (target + 4 * first).copyMemory(from: message + 4 * run.shardOffset, byteCount: 4 * run.elementCount)
    }
  }

  /// Copies whole dense tensors into the weights, from rows laid out as the unit is.
  func copyDense(whole values: UnsafePointer<Float>) {
    for spec in dense {
      unsafe (weights.flat.unsafeMutableAddress() + spec.offset).update(from: values + spec.offset, count: spec.count)
    }
  }

  // MARK: All rows

  /// This rank's rows, run after run.
  var master: UnsafePointer<Float> { unsafe shard.master.unsafeAddress() }
  var runs: [RowShards.Run] { shard.runs }
  var whole: UnsafeMutablePointer<Float> { unsafe weights.flat.unsafeMutableAddress() }

  // MARK: Values of a format

  /// Writes the quantized tensors' values in `format` into the weights.
  ///
  /// - Parameters:
  ///   - slice: cuts `format` out of the slot's codes; nil where they are in it.
  ///   - scratch: receives the cut codes.
  func materialize(_ format: MXFormat, from slot: CodeSlot, slice: CompiledSlice?, scratch: CodeSlot) {
    for tensor in quantized {
      let spec = tensor.spec
      let codes = unsafe slot.codes.bytes.unsafeAddress() + tensor.codeOffset
      let scales = unsafe slot.scales.bytes.unsafeAddress() + tensor.scaleOffset
      let target = unsafe weights.flat.unsafeMutableAddress() + spec.offset
      guard let slice else {
        unsafe BlockCodec.dequantizeRows(
          rows: spec.rows, columns: spec.columns, codes: codes, scales: scales, to: target, format: format)
        continue
      }
      let slicedCodes = unsafe scratch.codes.bytes.unsafeMutableAddress() + tensor.codeOffset
      let slicedScales = unsafe scratch.scales.bytes.unsafeMutableAddress() + tensor.scaleOffset
      unsafe BlockCodec.sliceRows(
        rows: spec.rows, columns: spec.columns, codes: codes, scales: scales, toCodes: slicedCodes,
        toScales: slicedScales, slice: slice)
      unsafe BlockCodec.dequantizeRows(
        rows: spec.rows, columns: spec.columns, codes: slicedCodes, scales: slicedScales, to: target, format: format)
    }
  }

  /// Codes of one tensor of the unit in a slot; nil where it has none.
  func codes(ofTensor index: Int, _ format: MXFormat, in slot: CodeSlot) -> WeightCodes? {
    guard let place = places[index] else { return nil }
    return unsafe WeightCodes(
      format: format, codes: slot.codes.bytes.unsafeAddress() + quantized[place].codeOffset,
      scales: slot.scales.bytes.unsafeAddress() + quantized[place].scaleOffset)
  }

  func forEachTensor(
    in slot: CodeSlot, _ body: (ParameterSpec, Span<UInt8>, Span<UInt8>) throws -> Void
  ) throws {
    for tensor in quantized {
      let scaleCount = tensor.spec.rows * PackedTensor.blockCount(tensor.spec.columns)
      let codes = slot.codes.bytes.region(tensor.codeOffset..<tensor.codeOffset + tensor.spec.count)
      let scales = slot.scales.bytes.region(tensor.scaleOffset..<tensor.scaleOffset + scaleCount)
      try body(tensor.spec, codes.span, scales.span)
    }
  }
}
