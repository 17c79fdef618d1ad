import Communication
import Formats
import Kernels
import Tensors
import Transformer

/// One collective on all ranks, again and again.
struct MeasuredCollective {
  let name: String
  /// Values of the unit.
  let values: Int
  /// Of the unit in the form in which it travels.
  let bytes: Int
  /// Of one collective, over all ranks.
  let bytesBetweenNodes: Int
  let times: Sample
}

/// How weights are gathered here.
enum WeightForm: String, CaseIterable {
  case fp32, bf16, codes
  case differences = "4-bit differences"

  static let format = MXFormat.mxint8
  static let codec = WireCodec(bits: .four, group: 2048)

  func byteCount(_ shards: RowShards, ofRank rank: Int) -> Int {
    let count = shards.elementCount(ofRank: rank)
    switch self {
    case .fp32: return 4 * count
    case .bf16: return 2 * count
    case .codes: return count + shards.scaleCount(ofRank: rank)
    case .differences:
      return shards.runs(ofRank: rank).reduce(0) { $0 + Self.codec.byteCount(of: $1.elementCount) }
    }
  }
}

/// The gradients and weights of one unit, with the work that a step has around their transfer: codes are made and read.
struct CollectiveUnit {
  private let shards: RowShards
  private let communicator: Communicator
  private let repetitions: Int

  init(_ unit: UnitLayout, on communicator: Communicator, repetitions: Int) throws {
    shards = RowShards(
      unit.parameters.map { .init(rows: $0.rows, columns: $0.columns) }, ranks: communicator.size)
    self.communicator = communicator
    self.repetitions = repetitions
  }

  /// Two levels need as many ranks on every node.
  static func gradientWires(on communicator: Communicator) -> [GradientWire] {
    let isEven = communicator.topology?.map.isEven ?? false
    return [.exact, .fp32, .bf16, .int8] + (isEven ? [.twoLevel] : [])
  }

  // MARK: Gradients

  func reduction(_ wire: GradientWire) throws -> MeasuredCollective {
    let arena = Arena("reduction")
    let sink = Sink(Tensor(rows: 1, columns: shards.elementCount(ofRank: communicator.rank), in: arena))
    let reducer = try GradientReducer(
      communicator, [shards], lanes: communicator.size, options: GradientWireOptions(wire, depth: 0), sink: sink,
      in: arena)
    var gradient = Tensor(rows: 1, columns: shards.elementCount, in: arena)
    gradient.fillWithNoise(seed: UInt64(17 + communicator.rank))
    var step = 0
    return try measure("reduce \(wire)", bytes: bytes(wire), kind: .gradients) {
      try reducer.reduce(
        &gradient, unit: 0, of: shards, contributors: communicator.size, firstLane: wire == .exact ? 0 : nil,
        overwrite: true, step: step, number: 0)
      try reducer.drain()
      step += 1
    }
  }

  /// Of the form that goes between nodes.
  private func bytes(_ wire: GradientWire) -> Int {
    let codec: WireCodec
    switch wire {
    case .exact, .fp32: return 4 * shards.elementCount
    case .bf16: return 2 * shards.elementCount
    case .int8: codec = WireCodec(bits: .eight, group: 128)
    case .twoLevel: codec = WireCodec(bits: .four, group: 128)
    }
    return (0..<shards.ranks).reduce(0) { sum, rank in
      sum + shards.runs(ofRank: rank).reduce(0) { $0 + codec.byteCount(of: $1.elementCount) }
    }
  }

  /// Keeps the sum.
  private final class Sink: GradientSink {
    private var sum: Tensor

    init(_ sum: consuming Tensor) { self.sum = sum }

    func withGradient(ofUnit unit: Int, _ body: (inout Tensor) -> Void) { body(&sum) }
    func adjust(_ contribution: inout Tensor, unit: Int, lane: Int?, number: Int) {}
  }

  // MARK: Weights

  func gather(_ form: WeightForm) throws -> MeasuredCollective {
    let arena = Arena("gather"), rank = communicator.rank, shards = shards
    let counts = (0..<shards.ranks).map { form.byteCount(shards, ofRank: $0) }
    let total = counts.reduce(0, +)
    let gather = try PayloadGather(communicator, capacity: total, in: arena)
    var own = Tensor(rows: 1, columns: shards.elementCount(ofRank: rank), in: arena)
    own.fillWithNoise(seed: UInt64(23 + rank))
    var full = Tensor(rows: 1, columns: WireRotation.paddedCount(shards.elementCount), in: arena)
    var codes = HostBuffer<UInt8>(count: shards.elementCount, in: arena)
    var scales = HostBuffer<UInt8>(count: shards.scaleCount, in: arena)
    return try measure("gather \(form.rawValue)", bytes: total, kind: .weights) {
      unsafe try gather.start { counts[$0] } fill: { message in
        let rows = unsafe own.unsafeAddress()
        switch form {
        case .fp32: unsafe message.copyMemory(from: rows, byteCount: counts[rank])
        case .bf16:
          unsafe BrainFloat.round(rows, count: own.count, into: message.assumingMemoryBound(to: UInt16.self))
        case .codes:
          let bytes = unsafe message.assumingMemoryBound(to: UInt8.self)
          for run in shards.runs(ofRank: rank) {
            unsafe BlockCodec.quantizeRows(
              rows: run.rows.count, columns: run.columns, from: rows + run.shardOffset, codes: bytes + run.shardOffset,
              scales: bytes + own.count + run.shardScaleOffset, format: WeightForm.format)
          }
        case .differences:
          var offset = 0
          for run in shards.runs(ofRank: rank) {
            unsafe WeightForm.codec.pack(
              rows + run.shardOffset, count: run.elementCount, to: message + offset, rotated: false)
            offset += WeightForm.codec.byteCount(of: run.elementCount)
          }
        }
      }
      unsafe try gather.finish { sender, message, _ in
        let values = unsafe full.unsafeMutableAddress()
        switch form {
        case .fp32:
          unsafe shards.copyShard(
            ofRank: sender, .elements(size: 4), fromShard: message, toFull: UnsafeMutableRawPointer(values))
        case .bf16:
          for run in shards.runs(ofRank: sender) {
            unsafe BrainFloat.widen(
              (message + 2 * run.shardOffset).assumingMemoryBound(to: UInt16.self), count: run.elementCount,
              into: values + run.fullOffset)
          }
        case .codes:
          let used = unsafe shards.copyShard(
            ofRank: sender, .elements(size: 1), fromShard: message, toFull: codes.unsafeMutableAddress())
          unsafe shards.copyShard(
            ofRank: sender, .scales, fromShard: message + used, toFull: scales.unsafeMutableAddress())
        case .differences:
          var offset = 0
          for run in shards.runs(ofRank: sender) {
            // Into one place: runs are padded to whole blocks, which would reach into their neighbours.
            unsafe WeightForm.codec.unpack(message + offset, count: run.elementCount, into: values, accumulate: false)
            offset += WeightForm.codec.byteCount(of: run.elementCount)
          }
        }
      }
    }
  }

  // MARK: Measuring

  private func measure(
    _ name: String, bytes: Int, kind: Traffic, _ work: () throws -> Void
  ) throws -> MeasuredCollective {
    try work()
    let before = communicator.statistics[kind].bytesBetweenNodes
    var times = Sample()
    for _ in 0..<repetitions {
      try communicator.barrier()
      try times.measure(work)
    }
    let own = communicator.statistics[kind].bytesBetweenNodes - before
    let all = try communicator.sum(Int64(own / repetitions))
    return MeasuredCollective(
      name: name, values: shards.elementCount, bytes: bytes, bytesBetweenNodes: Int(all), times: times)
  }
}
