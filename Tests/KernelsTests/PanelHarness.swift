import CKernels
import Formats
import Foundation
import Kernels
import Tensors
import Testing

/// The way a set of vectors lies in a row-major matrix.
enum PanelAxis: CaseIterable { case rows, columns }

/// Vectors in memory: `padding` elements behind each row of the matrix, `offset` before its first.
struct PanelSource {
  let axis: PanelAxis
  let vectors: Int, depth: Int
  let offset: Int, stride: Int
  var memory: [Float]

  init(
    _ axis: PanelAxis, vectors: Int, depth: Int, padding: Int = 0, offset: Int = 0,
    _ value: (_ vector: Int, _ d: Int) -> Float
  ) {
    (self.axis, self.vectors, self.depth, self.offset) = (axis, vectors, depth, offset)
    stride = (axis == .rows ? depth : vectors) + padding
    memory = Array(repeating: 1e30, count: offset + (axis == .rows ? vectors : depth) * stride)
    for vector in 0..<vectors { for d in 0..<depth { self[vector, d] = value(vector, d) } }
  }

  subscript(vector: Int, d: Int) -> Float {
    get { memory[index(vector, d)] }
    set { memory[index(vector, d)] = newValue }
  }

  private func index(_ vector: Int, _ d: Int) -> Int {
    offset + (axis == .rows ? vector * stride + d : d * stride + vector)
  }

  func vector(_ i: Int) -> [Float] { (0..<depth).map { self[i, $0] } }
}

/// What a test asks of a quantizer.
struct PanelQuantizer {
  var block = 0
  var signs: [UInt32]?
  /// Blocks of 32 in this format; one 8-bit scale a vector without.
  var format: MXFormat?
  var stochastic = false
  var maximum: Float = 0
  var shrink: Float = 1
  var key: (UInt32, UInt32) = (0x1234_5678, 0x9ABC_DEF0)
  var firstElement: UInt64 = 0

  func paddedDepth(_ depth: Int) -> Int {
    let unit = max(block, 32)
    return (depth + unit - 1) / unit * unit
  }
}

/// A packed operand as the kernels leave it, scales as bits.
struct PackedPanels: Equatable, CustomTestStringConvertible {
  let side: ck_side
  let depth: Int
  let isBlocked: Bool
  let codes: [UInt8]
  let sums: [Int32]
  let scales: [UInt32]

  var testDescription: String { "codes \(codes.prefix(8))..., scales \(scales.prefix(2))..." }

  func code(_ vector: Int, _ d: Int) -> Int {
    let byte = codes[(vector / 16) * depth * 16 + d / 4 * 64 + vector % 16 * 4 + d % 4]
    return side == CK_LEFT ? Int(Int8(bitPattern: byte)) : Int(byte) - 128
  }

  func sum(_ vector: Int, block: Int) -> Int { Int(sums[((vector / 16) * (depth / 32) + block) * 16 + vector % 16]) }

  func scale(_ vector: Int, _ d: Int) -> Float {
    Float(bitPattern: scales[isBlocked ? ((vector / 16) * (depth / 32) + d / 32) * 16 + vector % 16 : vector])
  }

  func value(_ vector: Int, _ d: Int) -> Float { Float(code(vector, d)) * scale(vector, d) }
}

/// One table's panels over arrays; what lies around the outputs must stay as it is.
struct PanelHarness {
  let name: String
  let panels: ck_panel_table

  init(_ table: KernelTable) { (name, panels) = (table.name, table.panels) }

  static var all: [PanelHarness] { KernelTable.available.map(PanelHarness.init) }
  static var scalar: PanelHarness { all.last! }

  func quantize(
    _ x: PanelSource, _ quantizer: PanelQuantizer, _ side: ck_side = CK_LEFT, shift: Int = 0
  ) -> PackedPanels {
    let depth = quantizer.paddedDepth(x.depth), panelCount = (x.vectors + 15) / 16
    var codes = Array(repeating: UInt8(0xA5), count: shift + panelCount * depth * 16 + 64)
    var sums = Array(repeating: Int32(0x5A5A), count: panelCount * depth / 2 + 16)
    let scaleCount = quantizer.format == nil ? panelCount * 16 : panelCount * depth / 2
    var scales = Array(repeating: Float(-77), count: scaleCount + 16)
    unsafe withRotation(quantizer.block, quantizer.signs) { rotation in
      var raw = unsafe ck_quantizer()
      unsafe raw.rotation = rotation
      unsafe raw.scaling = Int32((quantizer.format == nil ? CK_SCALE_VECTOR : CK_SCALE_BLOCK).rawValue)
      unsafe raw.rounding = Int32((quantizer.stochastic ? CK_STOCHASTIC : CK_NEAREST).rawValue)
      unsafe raw.element = (quantizer.format ?? .mxint8).element.ckElement
      unsafe raw.maximum = quantizer.maximum
      unsafe raw.shrink = quantizer.shrink
      unsafe raw.key = quantizer.key
      unsafe raw.first_element = quantizer.firstElement
      unsafe codes.withUnsafeMutableBufferPointer { codes in
        unsafe sums.withUnsafeMutableBufferPointer { sums in
          unsafe scales.withUnsafeMutableBufferPointer { scales in
            unsafe x.memory.withUnsafeBufferPointer { memory in
              var out = unsafe ck_panels(
                codes: codes.baseAddress! + shift, sums: side == CK_LEFT ? sums.baseAddress! : nil,
                scales: scales.baseAddress!, scaling: raw.scaling)
              let entry = unsafe x.axis == .rows ? panels.quantize_rows! : panels.quantize_columns!
              unsafe entry(
                &raw, side, Int64(x.vectors), Int64(x.depth), memory.baseAddress! + x.offset, Int64(x.stride), &out)
            }
          }
        }
      }
    }
    #expect(codes.prefix(shift).allSatisfy { $0 == 0xA5 } && codes.suffix(64).allSatisfy { $0 == 0xA5 }, "\(name)")
    #expect(sums.suffix(16).allSatisfy { $0 == 0x5A5A } && scales.suffix(16).allSatisfy { $0 == -77 }, "\(name)")
    return PackedPanels(
      side: side, depth: depth, isBlocked: quantizer.format != nil, codes: Array(codes.dropFirst(shift).dropLast(64)),
      sums: side == CK_LEFT ? sums.dropLast(16) : [], scales: scales.dropLast(16).map(\.bitPattern))
  }

  /// The vectors rotated in place.
  func rotate(_ x: PanelSource, block: Int, signs: [UInt32]?, inverse: Bool = false) -> PanelSource {
    var y = x
    unsafe withRotation(block, signs) { rotation in
      var rotation = unsafe rotation
      unsafe y.memory.withUnsafeMutableBufferPointer { memory in
        let entry = unsafe x.axis == .rows ? panels.rotate_rows! : panels.rotate_columns!
        let rows = x.axis == .rows ? x.vectors : x.depth, columns = x.axis == .rows ? x.depth : x.vectors
        unsafe entry(&rotation, Int64(rows), Int64(columns), memory.baseAddress! + x.offset, Int64(x.stride), inverse)
      }
    }
    return y
  }

  func largest(_ x: PanelSource, block: Int, signs: [UInt32]?) -> Float {
    var result: Float = 0
    unsafe withRotation(block, signs) { rotation in
      var rotation = unsafe rotation
      unsafe x.memory.withUnsafeBufferPointer { memory in
        let entry = unsafe x.axis == .rows ? panels.largest_rows! : panels.largest_columns!
        let rows = x.axis == .rows ? x.vectors : x.depth, columns = x.axis == .rows ? x.depth : x.vectors
        result = unsafe entry(&rotation, Int64(rows), Int64(columns), memory.baseAddress! + x.offset, Int64(x.stride))
      }
    }
    return result
  }

  /// bf16 panels as 16-bit patterns: [panel][pair of positions][vector][2].
  func bfloat16(_ x: PanelSource) -> [UInt16] {
    let depth = (x.depth + 31) / 32 * 32
    let count = (x.vectors + 15) / 16 * depth * 16
    var codes = Array(repeating: UInt16(0xA5A5), count: count + 32)
    unsafe codes.withUnsafeMutableBytes { codes in
      unsafe x.memory.withUnsafeBufferPointer { memory in
        let entry = unsafe x.axis == .rows ? panels.round_rows_bf16! : panels.round_columns_bf16!
        unsafe entry(
          Int64(x.vectors), Int64(x.depth), memory.baseAddress! + x.offset, Int64(x.stride),
          codes.baseAddress!.assumingMemoryBound(to: UInt8.self))
      }
    }
    #expect(codes.suffix(32).allSatisfy { $0 == 0xA5A5 }, "\(name)")
    return codes.dropLast(32)
  }

  private func withRotation(_ block: Int, _ signs: [UInt32]?, _ body: (ck_rotation) -> Void) {
    guard let signs else { return unsafe body(ck_rotation(block: Int32(block), signs: nil)) }
    unsafe signs.withUnsafeBufferPointer { unsafe body(ck_rotation(block: Int32(block), signs: $0.baseAddress!)) }
  }
}

func randomSigns(_ count: Int) -> [UInt32] {
  let random = CounterRandom(seed: 7, stream: "signs")
  return (0..<count).map { random.word(UInt64($0)) & 1 == 0 ? 0 : 0x8000_0000 }
}

/// Standard normal numbers by their index.
struct Normals {
  private let random: CounterRandom
  init(_ stream: UInt64) { random = CounterRandom(seed: 3, stream: stream) }
  subscript(index: Int) -> Float {
    let radius = (-2 * log(1 - random.uniform(UInt64(2 * index)))).squareRoot()
    return Float(radius * cos(2 * .pi * random.uniform(UInt64(2 * index + 1))))
  }
}
