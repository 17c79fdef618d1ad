import CKernels
import Kernels
import Tensors
import Testing

/// One operand of an integer product as plain numbers: `count` vectors of `depth` signed integers, and their scales.
struct IntegerVectors {
  let count: Int, depth: Int
  var values: [Int8]
  var scales: Scales

  enum Scales {
    /// One for each vector.
    case vector([Float])
    /// One for each vector and block of 32, (vectors x blocks).
    case block([Float])
  }

  var blocks: Int { (depth + 31) / 32 }

  /// Scales of 1 for each vector unless others are given.
  init(_ count: Int, _ depth: Int, scales: Scales? = nil, value: (Int, Int) -> Int8) {
    (self.count, self.depth) = (count, depth)
    values = (0..<count * depth).map { value($0 / depth, $0 % depth) }
    self.scales = scales ?? .vector(Array(repeating: 1, count: count))
  }

  /// Uniform in -largest ... largest.
  static func uniform(_ count: Int, _ depth: Int, _ stream: String, largest: Int = 127, scales: Scales? = nil) -> Self {
    let random = CounterRandom(seed: 6, stream: stream)
    return Self(count, depth, scales: scales) { vector, k in
      Int8(Int(random.integer(UInt64(vector * depth + k), below: UInt64(2 * largest + 1))) - largest)
    }
  }

  func value(_ vector: Int, _ k: Int) -> Int { Int(values[vector * depth + k]) }

  func scale(_ vector: Int, _ block: Int) -> Float {
    switch scales {
    case .vector(let scales): scales[vector]
    case .block(let scales): scales[vector * blocks + block]
    }
  }

  var isBlockScaled: Bool { if case .block = scales { true } else { false } }

  /// The vectors as the rows of a matrix, or as its columns, in the kernel's panels.
  func packed(_ side: ck_side, on table: KernelTable, byColumns: Bool = false) -> Panels {
    let panels = Panels(vectors: count, depth: depth, isBlockScaled: isBlockScaled)
    var matrix = values.map(UInt8.init(bitPattern:))
    if byColumns {
      for v in 0..<count { for k in 0..<depth { matrix[k * count + v] = UInt8(bitPattern: values[v * depth + k]) } }
    }
    let stride = Int64(byColumns ? count : depth)
    let pack = unsafe byColumns ? table.matmul.pack_columns! : table.matmul.pack_rows!
    unsafe pack(side, Int64(count), Int64(depth), Bytes(matrix).pointer, stride, nil, &panels.raw)
    for v in 0..<count {
      switch scales {
      case .vector(let scales): unsafe panels.raw.scales[v] = scales[v]
      case .block(let scales):
        for b in 0..<blocks { unsafe panels.raw.scales[(v / 16 * blocks + b) * 16 + v % 16] = scales[v * blocks + b] }
      }
    }
    return panels
  }
}

/// Powers of two around 1, or those times 4/3, the scale of stochastic FP4.
func blockScales(_ count: Int, _ depth: Int, _ stream: String, spread: Int = 10, times factor: Float = 1) -> [Float] {
  let random = CounterRandom(seed: 7, stream: stream)
  return (0..<count * ((depth + 31) / 32)).map {
    let exponent = Int(random.integer(UInt64($0), below: UInt64(2 * spread))) - spread
    return Float(sign: .plus, exponent: exponent, significand: factor)
  }
}

/// Memory of a packed operand, filled so that what a packing leaves out shows; padded scales as the layout has them.
@safe final class Panels {
  let vectors: Int, depth: Int
  var raw: ck_panels
  private var blocks: Int { (depth + 31) / 32 }
  private var panels: Int { (vectors + 15) / 16 }

  init(vectors: Int, depth: Int, isBlockScaled: Bool = false) {
    let panels = (vectors + 15) / 16, blocks = (depth + 31) / 32
    (self.vectors, self.depth) = (vectors, depth)
    let codes = Bytes(Array(repeating: 0x5A, count: panels * blocks * 512))
    let sums = Operand<Int32>(Array(repeating: 0x5A5A, count: panels * blocks * 16))
    let scales = F32(Array(repeating: isBlockScaled ? 1 : 0, count: isBlockScaled ? panels * blocks * 16 : panels * 16))
    unsafe raw = ck_panels(
      codes: codes.pointer, sums: sums.pointer, scales: scales.pointer,
      scaling: Int32((isBlockScaled ? CK_SCALE_BLOCK : CK_SCALE_VECTOR).rawValue))
  }

  var codes: [UInt8] { (0..<panels * blocks * 512).map { unsafe raw.codes[$0] } }
  var sums: [Int32] { (0..<panels * blocks * 16).map { unsafe raw.sums[$0] } }
}

/// bf16 vectors in panels; `values` are (vectors x depth) and exact in bf16.
@safe final class HalfPanels {
  let vectors: Int, depth: Int
  let codes: Bytes

  init(_ vectors: Int, _ depth: Int, _ values: [Float]) {
    (self.vectors, self.depth) = (vectors, depth)
    let blocks = (depth + 31) / 32
    var bytes = [UInt8](repeating: 0, count: (vectors + 15) / 16 * blocks * 1024)
    for v in 0..<vectors {
      for k in 0..<depth {
        let pattern = values[v * depth + k].bitPattern
        let at = v / 16 * blocks * 1024 + k / 2 * 64 + v % 16 * 4 + k % 2 * 2
        precondition(pattern & 0xFFFF == 0, "\(values[v * depth + k]) is no bf16")
        bytes[at] = UInt8(pattern >> 16 & 0xFF)
        bytes[at + 1] = UInt8(pattern >> 24)
      }
    }
    codes = Bytes(bytes)
  }
}

extension KernelTable {
  var matmul: ck_matmul_table { unsafe raw.pointee.matmul.pointee }

  /// C (m x n) from rows that lie three elements apart, which stay as they are.
  private func output(
    _ m: Int, _ n: Int, onto start: [Float]?, run: (UnsafeMutablePointer<Float>, Int64, Bool) -> Void
  ) -> [Float] {
    let stride = n + 3
    var before = [Float](repeating: -7, count: (m - 1) * stride + n)
    if let start { for i in 0..<m { for j in 0..<n { before[i * stride + j] = start[i * n + j] } } }
    let c = F32(before)
    unsafe run(c.pointer, Int64(stride), start != nil)
    let after = c.values
    for i in after.indices where i % stride >= n && after[i] != -7 {
      Issue.record("\(name): wrote beside C, at row \(i / stride)")
    }
    return (0..<m).flatMap { after[$0 * stride..<$0 * stride + n] }
  }

  /// `onto`: what is in C, and added to.
  func product(_ left: Panels, _ right: Panels, wide: Bool = false, onto start: [Float]? = nil) -> [Float] {
    let multiply = unsafe wide ? matmul.multiply_wide! : matmul.multiply!
    let (m, n) = (Int64(left.vectors), Int64(right.vectors))
    return unsafe output(left.vectors, right.vectors, onto: start) { c, stride, accumulate in
      unsafe multiply(m, n, Int64(left.depth), &left.raw, &right.raw, c, stride, accumulate)
    }
  }

  func product(_ left: HalfPanels, _ right: HalfPanels, onto start: [Float]? = nil) -> [Float] {
    unsafe output(left.vectors, right.vectors, onto: start) { c, stride, accumulate in
      unsafe matmul.multiply_bf16(
        Int64(left.vectors), Int64(right.vectors), Int64(left.depth), left.codes.pointer, right.codes.pointer, c,
        stride, accumulate)
    }
  }

  func product(_ left: IntegerVectors, _ right: IntegerVectors, onto start: [Float]? = nil) -> [Float] {
    product(left.packed(CK_LEFT, on: self), right.packed(CK_RIGHT, on: self), onto: start)
  }
}

/// The products as ck_matmul.h states them.
enum MatmulDefinition {
  static func dot(_ left: IntegerVectors, _ right: IntegerVectors, _ i: Int, _ j: Int, _ range: Range<Int>) -> Int {
    range.reduce(0) { $0 + left.value(i, $1) * right.value(j, $1) }
  }

  static func product(_ left: IntegerVectors, _ right: IntegerVectors) -> [Float] {
    (0..<left.count * right.count).map { index in
      let i = index / right.count, j = index % right.count
      guard left.isBlockScaled || right.isBlockScaled else {
        return Float(dot(left, right, i, j, 0..<left.depth)) * left.scale(i, 0) * right.scale(j, 0)
      }
      var sum: Float = 0
      for b in 0..<left.blocks {
        let ofBlock = Float(dot(left, right, i, j, b * 32..<min(b * 32 + 32, left.depth)))
        let scale = (left.isBlockScaled ? left.scale(i, b) : 1) * (right.isBlockScaled ? right.scale(j, b) : 1)
        sum = sum.addingProduct(ofBlock, scale)
      }
      return left.isBlockScaled ? right.isBlockScaled ? sum : sum * right.scale(j, 0) : sum * left.scale(i, 0)
    }
  }

  /// Every dequantized product and sum in double.
  static func exactProduct(_ left: IntegerVectors, _ right: IntegerVectors) -> [Double] {
    (0..<left.count * right.count).map { index in
      let i = index / right.count, j = index % right.count
      return (0..<left.blocks).reduce(0) { sum, b in
        let ofBlock = Double(dot(left, right, i, j, b * 32..<min(b * 32 + 32, left.depth)))
        return sum + ofBlock * Double(left.scale(i, b)) * Double(right.scale(j, b))
      }
    }
  }

  /// One accumulator, the odd element of each pair first.
  static func halfProduct(_ left: [Float], _ right: [Float], depth: Int) -> [Float] {
    let (m, n) = (left.count / depth, right.count / depth)
    return (0..<m * n).map { index in
      let l = index / n * depth, r = index % n * depth
      var sum: Float = 0
      for k in stride(from: 0, to: depth, by: 2) {
        if k + 1 < depth { sum = sum.addingProduct(left[l + k + 1], right[r + k + 1]) }
        sum = sum.addingProduct(left[l + k], right[r + k])
      }
      return sum
    }
  }
}
