import Kernels
import Tensors

/// A rank's rows of a unit as one hop writes them: run after run, each in whole groups of its own, so that no tensor shares
/// a scale with another.
///
/// Legend: n elements of a shard; a *sum* holds them run after run, in blocks of 32 where they are rotated.
struct ShardSegments {
  let runs: [RowShards.Run]
  let values: WireValues

  init(_ unit: RowShards, rank: Int, _ values: WireValues) {
    runs = unit.runs(ofRank: rank)
    self.values = values
  }

  var byteCount: Int { runs.reduce(0) { $0 + values.byteCount(of: $1.elementCount) } }
  var sumCount: Int { runs.reduce(0) { $0 + values.sumCount(of: $1.elementCount) } }

  /// Calls `body` with every run and its first byte and its first element of a sum.
  @inline(__always)
  func forEachRun(_ body: (_ run: RowShards.Run, _ byte: Int, _ sum: Int) -> Void) {
    var byte = 0, sum = 0
    for run in runs {
      body(run, byte, sum)
      byte += values.byteCount(of: run.elementCount)
      sum += values.sumCount(of: run.elementCount)
    }
  }

  /// Writes these rows of a unit's full gradient.
  ///
  /// - Parameters:
  ///   - residual: of these rows, in the layout of a sum; nil without feedback.
  func encode(
    _ full: UnsafePointer<Float>, to bytes: UnsafeMutableRawPointer, _ rounding: WireRounding,
    residual: UnsafeMutablePointer<Float>?
  ) {
    forEachRun { run, byte, sum in
      let source = unsafe full + run.fullOffset, target = unsafe bytes + byte
      switch values {
      case .fp32: unsafe target.copyMemory(from: source, byteCount: 4 * run.elementCount)
      case .bf16: unsafe BrainFloat.round(source, count: run.elementCount, into: target.assumingMemoryBound(to: UInt16.self))
      case .coded(let codec):
        unsafe codec.pack(
          source, count: run.elementCount, to: target, rotated: true, rounding: rounding.at(run.fullOffset),
          residual: residual.map { unsafe $0 + sum })
      }
    }
  }

  /// Writes a sum that is rotated already.
  func encode(
    sum values: UnsafePointer<Float>, to bytes: UnsafeMutableRawPointer, _ rounding: WireRounding,
    residual: UnsafeMutablePointer<Float>?
  ) {
    guard case .coded(let codec) = self.values else { preconditionFailure("sums travel as codes") }
    forEachRun { run, byte, sum in
      unsafe codec.pack(
        values + sum, count: run.elementCount, to: bytes + byte, rotated: false, rounding: rounding.at(run.fullOffset),
        residual: residual.map { unsafe $0 + sum })
    }
  }

  /// Begins a sum with these rows of a full gradient, which do not travel and are not rounded.
  func begin(_ sum: UnsafeMutablePointer<Float>, with full: UnsafePointer<Float>) {
    forEachRun { run, _, place in
      switch values {
      case .fp32, .bf16: unsafe (sum + place).update(from: full + run.fullOffset, count: run.elementCount)
      case .coded: unsafe WireRotation.rotate(full + run.fullOffset, count: run.elementCount, into: sum + place)
      }
    }
  }

  /// Adds what another rank wrote, or begins a sum with it.
  ///
  /// - Parameter widened: room for the values of the longest run, where they travel in bf16.
  func add(
    _ bytes: UnsafeRawPointer, to sum: UnsafeMutablePointer<Float>, accumulate: Bool, widened: UnsafeMutablePointer<Float>
  ) {
    forEachRun { run, byte, place in
      let n = run.elementCount, source = unsafe bytes + byte, target = unsafe sum + place
      switch values {
      case .fp32: unsafe Self.add(source.assumingMemoryBound(to: Float.self), n, to: target, accumulate)
      case .bf16:
        unsafe BrainFloat.widen(source.assumingMemoryBound(to: UInt16.self), count: n, into: widened)
        unsafe Self.add(widened, n, to: target, accumulate)
      case .coded(let codec): unsafe codec.unpack(source, count: n, into: target, accumulate: accumulate)
      }
    }
  }

  /// Adds a sum of the same layout.
  func addSum(_ other: UnsafePointer<Float>, to sum: UnsafeMutablePointer<Float>, accumulate: Bool) {
    unsafe Self.add(other, sumCount, to: sum, accumulate)
  }

  private static func add(
    _ x: UnsafePointer<Float>, _ count: Int, to sum: UnsafeMutablePointer<Float>, _ accumulate: Bool
  ) {
    if accumulate { unsafe FlatRows.add(x, count: count, to: sum) } else { unsafe sum.update(from: x, count: count) }
  }

  /// A finished sum in the layout of the shard.
  func end(_ sum: UnsafePointer<Float>, to shard: UnsafeMutablePointer<Float>) {
    forEachRun { run, _, place in
      switch values {
      case .fp32, .bf16: unsafe (shard + run.shardOffset).update(from: sum + place, count: run.elementCount)
      case .coded: unsafe WireRotation.unrotate(sum + place, count: run.elementCount, into: shard + run.shardOffset)
      }
    }
  }
}

/// How the codes of one message are rounded: the numbers belong to the step, the hop, the sender and the element's place in
/// the model.
struct WireRounding {
  let random: CounterRandom?
  /// The unit's first element in the model.
  let first: Int

  func at(_ offset: Int) -> WireCodec.Rounding {
    guard let random else { return .nearest }
    return .stochastic(random, first: UInt64(first + offset))
  }
}
