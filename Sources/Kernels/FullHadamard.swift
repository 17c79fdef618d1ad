public import Tensors

/// A randomized Hadamard rotation over the whole width of an axis, R = diag(s) · (H_K ⊗ H_P) / sqrt(d), d = K · P.
///
/// Shapes: x (T, d) for `rotateRows`, (d, N) for `rotateColumns`; in place.
///
///     rotateRows     x <- x R         inverse: x <- x Rᵀ
///     rotateColumns  x <- Rᵀ x        inverse: x <- R x
///
/// H_P is Sylvester's (a fast transform), H_K any Hadamard matrix. The inverse is the **transpose**: most H_K are not
/// symmetric (12, 20, 44, ...), and the forward operator applied twice is then not the identity. There is no padding:
/// the axis has exactly d elements.
///
/// Defined to the bit: signs; butterflies (a + b, a - b) inside each run of P at distance 1, 2, 4 ... P/2; for K > 1
/// sums over the K runs in ascending order, from +0; one product with the float nearest to 1/sqrt(d). The inverse keeps
/// this order, signs last. With K = 1 this is the block rotation of ck_panels.h with block d.
public struct FullHadamard: Sendable {
  /// K
  public let order: Int
  /// P
  public let power: Int
  public var size: Int { order * power }

  /// H_K and its transpose as floats: a product with ±1 is exact, and cheaper than a branch on a sign without pattern.
  private let forward: [Float]
  private let backward: [Float]
  private let signs: [UInt32]
  private let scale: Float

  /// Floats the dense factor is summed in.
  public var scratchCount: Int { order * Self.strip }
  /// Columns at a time: what one pass works on, d · 256 bytes, should stay in the second-level cache.
  private static let strip = 64

  /// - Parameters:
  ///   - matrix: H_K, ±1, row-major; [1] for K = 1.
  ///   - power: P, a power of two.
  ///   - signs: d masks, 0 or 0x8000_0000; empty for none.
  public init(matrix: [Int8], order: Int, power: Int, signs: [UInt32] = []) {
    precondition(order >= 1 && matrix.count == order * order, "a matrix of order \(order) with \(matrix.count) entries")
    precondition(power >= 1 && power & (power - 1) == 0, "\(power) is not a power of two")
    precondition(matrix.allSatisfy { $0 == 1 || $0 == -1 }, "entries of a Hadamard matrix are ±1")
    precondition(signs.isEmpty || signs.count == order * power, "\(signs.count) signs for \(order * power) elements")
    precondition(signs.allSatisfy { $0 & 0x7FFF_FFFF == 0 }, "a mask flips the sign bit only")
    self.order = order
    self.power = power
    self.signs = signs
    forward = matrix.map { Float($0) }
    backward = (0..<order * order).map { Float(matrix[$0 % order * order + $0 / order]) }
    scale = Float(1 / Double(order * power).squareRoot())
  }

  /// Along each row.
  public func rotateRows(_ x: inout Tensor, inverse: Bool = false, scratch: inout Tensor) {
    precondition(x.columns == size, "rotation of \(size) over rows of \(x.columns)")
    precondition(scratch.count >= scratchCount, "scratch of \(scratch.count), not \(scratchCount)")
    // Sound: row t is x[t * size ..< (t + 1) * size], of which each pass below touches exactly `size` elements.
    for t in 0..<x.rows {
      let row = unsafe x.unsafeMutableAddress() + t * size
      unsafe rotate(row, spacing: 1, run: 1, inverse: inverse, scratch: scratch.unsafeMutableAddress())
    }
  }

  /// Along each column.
  public func rotateColumns(_ x: inout Tensor, inverse: Bool = false, scratch: inout Tensor) {
    precondition(x.rows == size, "rotation of \(size) over columns of \(x.rows)")
    precondition(scratch.count >= scratchCount, "scratch of \(scratch.count), not \(scratchCount)")
    // Strips of columns, each through all passes while it is in the cache.
    // Sound: `run` columns from `column` on lie inside each of the `size` rows.
    for column in stride(from: 0, to: x.columns, by: Self.strip) {
      let base = unsafe x.unsafeMutableAddress() + column
      unsafe rotate(base, spacing: x.columns, run: min(Self.strip, x.columns - column), inverse: inverse,
                    scratch: scratch.unsafeMutableAddress())
    }
  }

  /// `run` neighbouring columns of an axis whose elements lie `spacing` apart.
  private func rotate(
    _ x: UnsafeMutablePointer<Float>, spacing: Int, run: Int, inverse: Bool, scratch: UnsafeMutablePointer<Float>
  ) {
    if !inverse { unsafe flip(x, spacing: spacing, run: run) }
    for a in 0..<order {
      unsafe butterflies(x + a * power * spacing, spacing: spacing, run: run)
    }
    if spacing == 1 {
      for column in stride(from: 0, to: power, by: Self.strip) {
        unsafe mix(x + column, spacing: power, run: min(Self.strip, power - column), inverse: inverse, scratch)
      }
    } else {
      for c in 0..<power {
        unsafe mix(x + c * spacing, spacing: power * spacing, run: run, inverse: inverse, scratch)
      }
    }
    if inverse { unsafe flip(x, spacing: spacing, run: run) }
  }

  private func flip(_ x: UnsafeMutablePointer<Float>, spacing: Int, run: Int) {
    guard !signs.isEmpty else { return }
    for i in 0..<size {
      for j in 0..<run {
        let element = unsafe x + i * spacing + j
        unsafe element.pointee = Float(bitPattern: element.pointee.bitPattern ^ signs[i])
      }
    }
  }

  /// x <- H_P x over P elements; neighbours (spacing 1) are one long run at every distance.
  private func butterflies(_ x: UnsafeMutablePointer<Float>, spacing: Int, run: Int) {
    var distance = 1
    if spacing == 1 && power >= 8 {
      for i in stride(from: 0, to: power, by: 8) { unsafe Self.eight(x + i) }
      distance = 8
    }
    while distance < power {
      for start in stride(from: 0, to: power, by: 2 * distance) {
        let a = unsafe x + start * spacing
        let b = unsafe a + distance * spacing
        if spacing == 1 {
          unsafe Self.butterfly(a, b, distance)
        } else {
          for i in 0..<distance { unsafe Self.butterfly(a + i * spacing, b + i * spacing, run) }
        }
      }
      distance *= 2
    }
  }

  /// Distances 1, 2 and 4 among 8 neighbours: loops of so few elements would cost more than their additions.
  @inline(__always)
  private static func eight(_ x: UnsafeMutablePointer<Float>) {
    let v = unsafe UnsafeRawPointer(x).loadUnaligned(as: SIMD8<Float>.self)
    let (a, b) = (v.evenHalf + v.oddHalf, v.evenHalf - v.oddHalf)  // columns 0, 2, 4, 6 of the pairs, and 1, 3, 5, 7
    let (c, d) = (a.evenHalf + a.oddHalf, a.evenHalf - a.oddHalf)  // 0, 4 and 2, 6
    let (e, f) = (b.evenHalf + b.oddHalf, b.evenHalf - b.oddHalf)  // 1, 5 and 3, 7
    let (low, high) = (SIMD4(c[0], e[0], d[0], f[0]), SIMD4(c[1], e[1], d[1], f[1]))
    let out = SIMD8(lowHalf: low + high, highHalf: low - high)
    unsafe UnsafeMutableRawPointer(x).storeBytes(of: out, as: SIMD8<Float>.self)
  }

  @inline(__always)
  private static func butterfly(_ a: UnsafeMutablePointer<Float>, _ b: UnsafeMutablePointer<Float>, _ count: Int) {
    for i in 0..<count {
      let (low, high) = unsafe (a[i], b[i])
      unsafe a[i] = low + high
      unsafe b[i] = low - high
    }
  }

  /// y[k'] = Σ_k x[k] · H_K[k, k'] / sqrt(d) over K vectors of `run` elements, `spacing` apart; the inverse takes H_Kᵀ.
  private func mix(
    _ x: UnsafeMutablePointer<Float>, spacing: Int, run: Int, inverse: Bool, _ scratch: UnsafeMutablePointer<Float>
  ) {
    guard order > 1 else {
      for j in 0..<run { unsafe x[j] *= scale }
      return
    }
    let weights = inverse ? backward : forward
    let tiled = order % 4 == 0 ? run / 8 * 8 : 0
    // Sound: rows source, target < K of `run` elements each, in x and (at `strip` elements a row) in scratch.
    unsafe weights.withUnsafeBufferPointer { weights in
      for target in stride(from: 0, to: tiled > 0 ? order : 0, by: 4) {
        for j in stride(from: 0, to: tiled, by: 8) {
          unsafe Self.tile(x + j, spacing, weights.baseAddress! + target, order, scratch + target * Self.strip + j)
        }
      }
    }
    for target in 0..<order {
      for j in tiled..<max(tiled, run) {
        var sum: Float = 0
        for source in 0..<order { unsafe sum += weights[source * order + target] * x[source * spacing + j] }
        unsafe scratch[target * Self.strip + j] = sum
      }
    }
    for target in 0..<order {
      for j in 0..<run { unsafe x[target * spacing + j] = scratch[target * Self.strip + j] * scale }
    }
  }

  /// Sums of 8 columns for 4 targets, in registers; `weights` are those of the first target, `order` apart by source.
  @inline(__always)
  private static func tile(
    _ x: UnsafeMutablePointer<Float>, _ spacing: Int, _ weights: UnsafePointer<Float>, _ order: Int,
    _ out: UnsafeMutablePointer<Float>
  ) {
    var sums = (SIMD8<Float>(), SIMD8<Float>(), SIMD8<Float>(), SIMD8<Float>())
    for source in 0..<order {
      let term = unsafe UnsafeRawPointer(x + source * spacing).loadUnaligned(as: SIMD8<Float>.self)
      let w = unsafe weights + source * order
      unsafe sums.0 += term * w[0]
      unsafe sums.1 += term * w[1]
      unsafe sums.2 += term * w[2]
      unsafe sums.3 += term * w[3]
    }
    unsafe UnsafeMutableRawPointer(out).storeBytes(of: sums.0, as: SIMD8<Float>.self)
    unsafe UnsafeMutableRawPointer(out + strip).storeBytes(of: sums.1, as: SIMD8<Float>.self)
    unsafe UnsafeMutableRawPointer(out + 2 * strip).storeBytes(of: sums.2, as: SIMD8<Float>.self)
    unsafe UnsafeMutableRawPointer(out + 3 * strip).storeBytes(of: sums.3, as: SIMD8<Float>.self)
  }
}
