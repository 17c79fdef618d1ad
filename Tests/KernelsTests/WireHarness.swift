import Kernels
import Tensors

/// One case of a run on the wire.
struct WireCase: CustomStringConvertible {
  var codec: WireCodec
  var rotated = false
  var rounding = WireCodec.Rounding.nearest
  var residual: [Float]?
  var misalignment = 0

  var description: String {
    "\(codec.bits) bits / \(codec.group), rotated \(rotated), \(rounding), residual \(residual != nil)"
  }
}

/// A payload as it travels, and the residual that stays, both as bits.
struct WirePayload: Equatable {
  var scales: [UInt32]
  var codes: [UInt8]
  var residual: [UInt32]?
}

extension WireCase {
  /// `x` packed by a table, between guards.
  func pack(_ x: [Float], on table: KernelTable) -> WirePayload {
    let source = F32(x, misalignment: misalignment % 4)
    let bytes = Bytes([UInt8](repeating: 0x5A, count: codec.byteCount(of: x.count)), misalignment: misalignment)
    let kept = residual.map { F32($0, misalignment: (misalignment + 1) % 4) }
    unsafe codec.pack(
      source.pointer, count: x.count, to: bytes.pointer, rotated: rotated, rounding: rounding,
      residual: kept?.pointer, on: table)
    return WirePayload(bytes.values, scales: (x.count + codec.group - 1) / codec.group, residual: kept?.values)
  }

  /// The values of a payload: replacing, or added to `sum`.
  func unpack(_ payload: WirePayload, count: Int, sum: [Float]? = nil, on table: KernelTable) -> [Float] {
    let bytes = Bytes(payload.bytes, misalignment: misalignment)
    let y = F32(sum ?? [Float](repeating: -7, count: codec.paddedCount(count)), misalignment: (misalignment + 3) % 4)
    unsafe codec.unpack(bytes.pointer, count: count, into: y.pointer, accumulate: sum != nil, on: table)
    return y.values
  }
}

extension WirePayload {
  init(_ bytes: [UInt8], scales: Int, residual: [Float]?) {
    self.init(
      scales: (0..<scales).map { i in (0..<4).reduce(0) { $0 | UInt32(bytes[4 * i + $1]) << UInt32(8 * $1) } },
      codes: Array(bytes.dropFirst(4 * scales)), residual: residual?.map(\.bitPattern))
  }

  var bytes: [UInt8] {
    scales.flatMap { scale in (0..<4).map { UInt8(truncatingIfNeeded: scale >> (8 * UInt32($0))) } } + codes
  }
}

/// The codec as `ck_wire.h` words it, over arrays.
enum WireDefinition {
  static func rotated(_ x: [Float]) -> [Float] {
    var y = x + [Float](repeating: 0, count: (32 - x.count % 32) % 32)
    for distance in [1, 2, 4, 8, 16] {
      for i in y.indices where i & distance == 0 {
        (y[i], y[i + distance]) = (y[i] + y[i + distance], y[i] - y[i + distance])
      }
    }
    return y
  }

  static func pack(_ x: [Float], _ test: WireCase) -> WirePayload {
    let codec = test.codec, top: Float = codec.bits == .four ? 7 : 127
    let padded = x + [Float](repeating: 0, count: (32 - x.count % 32) % 32)
    var v = test.rotated ? rotated(x) : padded
    if let residual = test.residual { v = zip(v, residual).map { $0 + $1 } }
    var payload = WirePayload(scales: [], codes: [], residual: test.residual.map { _ in v.map(\.bitPattern) })
    var codes = [Int](repeating: 0, count: v.count)
    for first in stride(from: 0, to: v.count, by: codec.group) {
      let group = first..<min(first + codec.group, v.count)
      guard group.allSatisfy({ v[$0].magnitude < 0x1p127 }) else {
        payload.scales.append(Float.nan.bitPattern)
        if let residual = test.residual { for i in group { payload.residual![i] = residual[i].bitPattern } }
        continue
      }
      let largest = group.map { v[$0].magnitude }.max()!
      let scale = largest < 0x1p-100 ? 0 : largest / top, factor = largest < 0x1p-100 ? 0 : top / largest
      payload.scales.append(scale.bitPattern)
      for i in group {
        codes[i] = code(v[i], factor, i, test.rounding)
        if test.residual != nil { payload.residual![i] = (v[i] - Float(codes[i]) * scale).bitPattern }
      }
    }
    for block in stride(from: 0, to: v.count, by: 32) {
      switch codec.bits {
      case .eight: payload.codes += codes[block..<block + 32].map { UInt8(truncatingIfNeeded: $0) }
      case .four: payload.codes += (block..<block + 16).map { UInt8(codes[$0] & 15 | (codes[$0 + 16] & 15) << 4) }
      }
    }
    return payload
  }

  private static func code(_ v: Float, _ factor: Float, _ i: Int, _ rounding: WireCodec.Rounding) -> Int {
    switch rounding {
    case .nearest: return Int((v * factor).rounded(.toNearestOrEven))
    case .stochastic(let random, let first):
      let element = first &+ UInt64(i), words = random.words(element / 8)
      let word = [words.0, words.1, words.2, words.3][Int(element % 8 / 2)]
      let bits = Int(word >> UInt32(16 * (element % 2)) & 0xFFFF)
      return (Int((v * (factor * 65536)).rounded(.toNearestOrEven)) + bits) >> 16
    }
  }

  static func unpack(_ payload: WirePayload, _ codec: WireCodec) -> [Float] {
    let count = payload.codes.count * 8 / codec.bits.rawValue
    return (0..<count).map { i in
      let code: Int8
      switch codec.bits {
      case .eight: code = Int8(bitPattern: payload.codes[i])
      case .four:
        let byte = payload.codes[i / 32 * 16 + i % 16]
        code = Int8(bitPattern: i % 32 < 16 ? byte << 4 : byte & 0xF0) >> 4
      }
      return Float(code) * Float(bitPattern: payload.scales[i / codec.group])
    }
  }
}

extension [Float] {
  /// Bits, with one pattern for every NaN.
  var patterns: [UInt32] { map { $0.isNaN ? Float.nan.bitPattern : $0.bitPattern } }
}
