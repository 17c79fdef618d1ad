import CKernels
public import Tensors

/// One side of a low-precision product, quantized and packed along the contracted axis (`ck_panels.h`).
///
/// A product is C (m x n) = L · Rᵀ: L has m vectors, R has n, all of the same depth. An operand is memory that is laid
/// out once for the largest of its uses and packed anew for each.
@safe public final class Operand {
  public enum Side: Sendable { case left, right }

  /// How the elements of a vector are stored.
  public enum Elements: Sendable, Hashable {
    /// 8-bit integers, one fp32 scale a vector: absmax / 127.
    case int8
    /// Small integers of an MX format, a power of two for every 32 along the depth.
    case blocks
    case bf16
  }

  public let side: Side
  public private(set) var vectors = 0
  /// The contracted length with its padding: a multiple of 32, and of the rotation's block.
  public private(set) var depth = 0
  public private(set) var elements = Elements.int8
  /// Exponents of the least and the greatest finite block scale; nil without block scales.
  public private(set) var exponents: ClosedRange<Int>?

  var codes: HostBuffer<UInt8>
  var sums: HostBuffer<Int32>
  var scales: HostBuffer<Float>

  /// Elements of memory an operand needs.
  public struct Capacity: Sendable {
    var codes = 0, sums = 0, scales = 0

    public init() {}

    /// For `vectors` of `depth` elements.
    public init(_ side: Side, _ elements: Elements, vectors: Int, depth: Int, multiple: Int = 32) {
      let depth = Operand.padded(depth, to: multiple)
      let panels = Int(ck_panel_count(Int64(vectors)))
      let blocks = panels * depth / Int(CK_BLOCK) * Int(CK_PANEL)
      codes = panels * depth * Int(CK_PANEL) * (elements == .bf16 ? 2 : 1)
      sums = side == .left && elements != .bf16 ? blocks : 0
      scales = elements == .bf16 ? 0 : elements == .blocks ? blocks : panels * Int(CK_PANEL)
    }

    /// Enough for either.
    public mutating func include(_ other: Capacity) {
      codes = max(codes, other.codes)
      sums = max(sums, other.sums)
      scales = max(scales, other.scales)
    }
  }

  public init(_ side: Side, _ capacity: Capacity, in arena: Arena) {
    self.side = side
    codes = HostBuffer(count: capacity.codes, in: arena)
    sums = HostBuffer(count: capacity.sums, in: arena)
    scales = HostBuffer(count: capacity.scales, in: arena)
  }

  static func padded(_ depth: Int, to multiple: Int) -> Int {
    let unit = max(Int(CK_BLOCK), multiple)
    return (depth + unit - 1) / unit * unit
  }

  /// Declares what the memory is about to hold.
  func begin(_ elements: Elements, vectors: Int, depth: Int, multiple: Int) {
    let need = Capacity(side, elements, vectors: vectors, depth: depth, multiple: multiple)
    precondition(need.codes <= codes.count && need.sums <= sums.count && need.scales <= scales.count,
      "an operand of \(vectors) x \(depth) needs \(need), there is room for \(codes.count), \(sums.count), \(scales.count)")
    self.elements = elements
    self.vectors = vectors
    self.depth = Self.padded(depth, to: multiple)
    exponents = nil
  }

  /// Looks at the block scales that were just packed.
  func measureScales() {
    guard elements == .blocks else { return }
    let count = Int(ck_panel_count(Int64(vectors))) * depth / Int(CK_BLOCK) * Int(CK_PANEL)
    let address = unsafe scales.unsafeAddress()
    // Scales are powers of two or NaN, so their order is that of their exponent bits.
    var least = UInt32.max, greatest: UInt32 = 0
    for i in 0..<count {
      let bits = unsafe address[i].bitPattern
      let isNaN = bits >= 0x7F80_0000
      least = min(least, isNaN ? .max : bits)
      greatest = max(greatest, isNaN ? 0 : bits)
    }
    guard least <= greatest else { return }
    exponents = Self.exponent(least)...Self.exponent(greatest)
  }

  private static func exponent(_ bits: UInt32) -> Int {
    let value = Float(bitPattern: bits)
    return value.isZero ? -150 : Int(value.exponent)
  }

  /// The panels from `panel` on, as the kernels take them.
  @unsafe func raw(fromPanel panel: Int = 0) -> ck_panels {
    let perPanel = depth / Int(CK_BLOCK) * Int(CK_PANEL)
    let code = panel * depth * Int(CK_PANEL) * (elements == .bf16 ? 2 : 1)
    let scale = panel * (elements == .blocks ? perPanel : Int(CK_PANEL))
    return unsafe ck_panels(
      codes: codes.unsafeMutableAddress() + code,
      sums: side == .left && elements != .bf16 ? sums.unsafeMutableAddress() + panel * perPanel : nil,
      scales: elements == .bf16 ? nil : scales.unsafeMutableAddress() + scale,
      scaling: Int32(bitPattern: elements == .blocks ? CK_SCALE_BLOCK.rawValue : CK_SCALE_VECTOR.rawValue))
  }
}
