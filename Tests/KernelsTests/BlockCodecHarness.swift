import Formats
import Kernels
import Tensors
import Testing

/// A matrix in a block format, in arrays.
struct PackedMatrix: Equatable, CustomTestStringConvertible {
  var codes: [UInt8]
  var scales: [UInt8]

  var testDescription: String { "\(codes.count) codes \(codes.prefix(8))..., scales \(scales.prefix(4))..." }
}

/// Floats that are equal if their bits are; a failure shows the first few, not all.
struct BitPatterns: Equatable, CustomTestStringConvertible {
  let patterns: [UInt32]

  var testDescription: String { "\(patterns.count) floats \(patterns.prefix(4).map(Float.init(bitPattern:)))..." }
}

/// One table's codec over arrays, with every run `offset` elements away from the start of its memory.
struct CodecHarness {
  let table: KernelTable
  var offset = 0
  let rows: Int
  let columns: Int

  private var scaleCount: Int { rows * PackedTensor.blockCount(columns) }

  func quantize(_ x: [Float], _ format: MXFormat, _ rule: ScaleRule = .floor) -> PackedMatrix {
    var packed = PackedMatrix(codes: filled(x.count, 0xA5), scales: filled(scaleCount, 0xA5))
    let x = shifted(x)
    unsafe packed.codes.withUnsafeMutableBufferPointer { codes in
      unsafe packed.scales.withUnsafeMutableBufferPointer { scales in
        unsafe x.withUnsafeBufferPointer { x in
          unsafe BlockCodec.quantizeRows(
            rows: rows, columns: columns, from: x.baseAddress! + offset, codes: codes.baseAddress! + offset,
            scales: scales.baseAddress! + offset, format: format, rule: rule, table: table)
        }
      }
    }
    return PackedMatrix(codes: inner(packed.codes, guard: 0xA5), scales: inner(packed.scales, guard: 0xA5))
  }

  func dequantize(_ packed: PackedMatrix, _ format: MXFormat) -> [Float] {
    var y: [Float] = filled(packed.codes.count, -7)
    let codes = shifted(packed.codes), scales = shifted(packed.scales)
    unsafe y.withUnsafeMutableBufferPointer { y in
      unsafe codes.withUnsafeBufferPointer { codes in
        unsafe scales.withUnsafeBufferPointer { scales in
          unsafe BlockCodec.dequantizeRows(
            rows: rows, columns: columns, codes: codes.baseAddress! + offset, scales: scales.baseAddress! + offset,
            to: y.baseAddress! + offset, format: format, table: table)
        }
      }
    }
    return inner(y, guard: -7)
  }

  func slice(_ packed: PackedMatrix, _ slice: CompiledSlice) -> PackedMatrix {
    var sliced = PackedMatrix(codes: filled(packed.codes.count, 0xA5), scales: filled(scaleCount, 0xA5))
    let codes = shifted(packed.codes), scales = shifted(packed.scales)
    unsafe sliced.codes.withUnsafeMutableBufferPointer { slicedCodes in
      unsafe sliced.scales.withUnsafeMutableBufferPointer { slicedScales in
        unsafe codes.withUnsafeBufferPointer { codes in
          unsafe scales.withUnsafeBufferPointer { scales in
            unsafe BlockCodec.sliceRows(
              rows: rows, columns: columns, codes: codes.baseAddress! + offset, scales: scales.baseAddress! + offset,
              toCodes: slicedCodes.baseAddress! + offset, toScales: slicedScales.baseAddress! + offset, slice: slice,
              table: table)
          }
        }
      }
    }
    return PackedMatrix(codes: inner(sliced.codes, guard: 0xA5), scales: inner(sliced.scales, guard: 0xA5))
  }

  func roundTrip(_ x: [Float], _ format: MXFormat, _ rule: ScaleRule = .floor) -> [Float] {
    var y: [Float] = filled(x.count, -7)
    let x = shifted(x)
    unsafe y.withUnsafeMutableBufferPointer { y in
      unsafe x.withUnsafeBufferPointer { x in
        unsafe BlockCodec.roundTripRows(
          rows: rows, columns: columns, from: x.baseAddress! + offset, to: y.baseAddress! + offset, format: format,
          rule: rule, table: table)
      }
    }
    return inner(y, guard: -7)
  }

  func clip(_ gradient: [Float], at x: [Float], _ format: MXFormat, _ rule: ScaleRule = .floor) -> [Float] {
    var g = shifted(gradient)
    let x = shifted(x)
    unsafe g.withUnsafeMutableBufferPointer { g in
      unsafe x.withUnsafeBufferPointer { x in
        unsafe BlockCodec.clipGradientRows(
          rows: rows, columns: columns, at: x.baseAddress! + offset, gradient: g.baseAddress! + offset, format: format,
          rule: rule, table: table)
      }
    }
    return inner(g, guard: 0)
  }

  /// Room for `count` elements `offset` from the start, and a border behind them that must stay as it is.
  private func filled<T>(_ count: Int, _ value: T) -> [T] { Array(repeating: value, count: offset + count + 3) }

  private func shifted<T: ExpressibleByIntegerLiteral>(_ values: [T]) -> [T] {
    Array(repeating: 0, count: offset) + values + [0, 0, 0]
  }

  private func inner<T: Equatable>(_ values: [T], guard border: T) -> [T] {
    precondition(values[..<offset].allSatisfy { $0 == border } && values.suffix(3).allSatisfy { $0 == border },
      "\(table.name): wrote outside \(rows) x \(columns)")
    return Array(values[offset..<(values.count - 3)])
  }
}

func bits(_ values: [Float]) -> BitPatterns { BitPatterns(patterns: values.map(\.bitPattern)) }

/// fp32 bit patterns that try a codec: all exponents, few of them within a block, exact ties, zeros of both signs,
/// and now and then NaN and infinity.
func hostileValues(_ count: Int, stream: UInt64) -> [Float] {
  let random = CounterRandom(seed: 20_26, stream: stream)
  return (0..<count).map { index in
    let word = random.word(UInt64(index))
    let block = random.word(UInt64(index / 32) | 1 << 40)
    let pattern = UInt32(truncatingIfNeeded: word)
    switch block % 16 {
    case 0: return Float(bitPattern: pattern)
    case 1: return Float(bitPattern: pattern & 0x8000_0000)
    case 2: return Float(bitPattern: pattern & 0x807F_FFFF)
    default:
      let top = Int(block >> 8) % 255, spread = block % 3 == 0 ? 3 : 24
      let exponent = UInt32(max(0, top - Int(word >> 40) % spread))
      let mantissa = block % 2 == 0 ? pattern & 0x7FFFFF : pattern & 0x7F8000
      if (word >> 33) % 100_000 == 0 { return word >> 63 == 0 ? .nan : .infinity }
      return Float(bitPattern: pattern & 0x8000_0000 | exponent << 23 | mantissa)
    }
  }
}
