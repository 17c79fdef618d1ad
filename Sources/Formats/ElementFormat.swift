/// What one element of a block can be: an integer or a small float.
///
/// A code is one byte. Integers are two's complement, sign-extended to the byte. Floats keep sign, exponent and
/// mantissa in their low `bits`, sign on top. Sources: OCP Microscaling Formats (MX) v1.0, section 5.3, for INT8, FP8,
/// FP6 and FP4; integers of 2...7 bits and other float splits follow the same construction.
public struct ElementFormat: Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    /// Two's complement, symmetric range ±(2^(bits-1) - 1), implied scale 2^-(bits-2).
    case integer
    /// Sign, exponent, mantissa.
    case float(exponentBits: Int, mantissaBits: Int, bias: Int)
  }

  public let kind: Kind
  public let bits: Int
  /// Exponent of the largest power of two; 0 for integers.
  public let emax: Int
  /// The largest finite magnitude's code; for integers this is L = 2^(bits-1) - 1.
  public let maxCode: UInt8

  /// Integers of `bits` 2...8. The most negative code, -2^(bits-1), is never produced.
  public static func integer(bits: Int) -> ElementFormat {
    precondition((2...8).contains(bits), "integer element of \(bits) bits: 2...8 exist")
    return ElementFormat(kind: .integer, bits: bits, emax: 0, maxCode: UInt8(1 << (bits - 1) - 1))
  }

  /// Floats with the bias 2^(exponentBits-1) - 1 and subnormals. Of the 8-bit ones E4M3 gives up its last code to NaN
  /// and E5M2 its last exponent to infinity and NaN; all others use every code for a finite value.
  public static func float(exponentBits: Int, mantissaBits: Int) -> ElementFormat {
    let bits = 1 + exponentBits + mantissaBits
    precondition((2...5).contains(exponentBits) && (1...5).contains(mantissaBits) && bits <= 8,
      "float element E\(exponentBits)M\(mantissaBits): at most 8 bits, 2...5 of exponent, 1 or more of mantissa")
    let bias = 1 << (exponentBits - 1) - 1
    var maxCode = 1 << (bits - 1) - 1
    if bits == 8 { maxCode -= exponentBits == 5 ? 1 << mantissaBits : 1 }
    return ElementFormat(
      kind: .float(exponentBits: exponentBits, mantissaBits: mantissaBits, bias: bias), bits: bits,
      emax: maxCode >> mantissaBits - bias, maxCode: UInt8(maxCode))
  }

  private init(kind: Kind, bits: Int, emax: Int, maxCode: UInt8) {
    self.kind = kind
    self.bits = bits
    self.emax = emax
    self.maxCode = maxCode
  }
}

// MARK: - Bits of a code

extension ElementFormat {
  public var isInteger: Bool { kind == .integer }

  /// Stored mantissa bits; for integers the fraction bits, `bits` - 2.
  public var mantissaBits: Int {
    if case .float(_, let mantissaBits, _) = kind { mantissaBits } else { bits - 2 }
  }

  /// 0 for integers.
  public var exponentBits: Int {
    if case .float(let exponentBits, _, _) = kind { exponentBits } else { 0 }
  }

  /// 0 for integers.
  public var bias: Int {
    if case .float(_, _, let bias) = kind { bias } else { 0 }
  }

  /// The bits of a code that make it nonzero: all of an integer's, all but the sign of a float's.
  public var magnitudeMask: UInt8 { isInteger ? 0xFF : UInt8(1 << (bits - 1) - 1) }

  /// The sign bit of a float code; 0 for integers, which have no negative zero.
  public var signMask: UInt8 { isInteger ? 0 : UInt8(1 << (bits - 1)) }

  /// Whether `code` is a number the format has; false for E4M3 7F and FF, E5M2 7C...7F and FC...FF, for integers
  /// outside ±L, and for float codes with bits above their width.
  public func isFinite(_ code: UInt8) -> Bool {
    if isInteger { return abs(Int(Int8(bitPattern: code))) <= Int(maxCode) }
    return code & ~(magnitudeMask | signMask) == 0 && code & magnitudeMask <= maxCode
  }

  /// Every code with a finite value, in the order of the byte: for integers -L...L as 0...L, then -L...-1; for floats
  /// both zeros, the positive before the negative.
  public var finiteCodes: [UInt8] { (UInt8.min...UInt8.max).filter(isFinite) }

  /// The largest finite value.
  public var maxValue: Float { decode(maxCode) }

  /// The smallest positive value: a float's smallest subnormal, an integer's step 2^-(bits-2).
  public var smallestSubnormal: Float { decode(1) }

  /// The smallest positive value with a full mantissa; for integers their step.
  public var smallestNormal: Float { isInteger ? decode(1) : decode(UInt8(1 << mantissaBits)) }
}

// MARK: - As integers

extension ElementFormat {
  /// Every value is an integer times 2^-shift: `bits` - 2 for integers, the exponent of the smallest subnormal for floats.
  public var integerShift: Int { isInteger ? bits - 2 : mantissaBits + bias - 1 }

  /// Whether those integers fit in a signed byte, so that products run on 8-bit dot products: MXINT2...8, E2M1, E2M3.
  public var isByteCarried: Bool { maxValue * powerOfTwo(integerShift) <= 127 }

  /// The integer of every code, 256 entries; 0 for codes that are no number.
  ///
  /// - Precondition: ``isByteCarried``.
  public var carriers: [Int8] {
    precondition(isByteCarried, "an element whose integers reach \(maxValue * powerOfTwo(integerShift)) needs more than a byte")
    return (UInt8.min...UInt8.max).map { isFinite($0) ? Int8(decode($0) * powerOfTwo(integerShift)) : 0 }
  }
}

// MARK: - As bf16

extension ElementFormat {
  /// The block scale exponents e for which every value times 2^e is zero or a normal bf16 number, and exact: the smallest
  /// one reaches 2^-126, the largest stays below 2^128. E.g. [-117, 119] for E4M3.
  public var bf16Exponents: ClosedRange<Int> {
    -126 - Int(smallestSubnormal.exponent)...127 - emax
  }
}

// MARK: - Values

extension ElementFormat {
  /// The value of a code, exactly. Bits above a float's width are ignored; NaN codes give NaN.
  public func decode(_ code: UInt8) -> Float {
    switch kind {
    case .integer:
      return Float(Int8(bitPattern: code)) * powerOfTwo(2 - bits)
    case .float(_, let mantissaBits, let bias):
      let magnitude = Int(code & magnitudeMask)
      let isNegative = code & signMask != 0
      if magnitude > maxCode {
        return exponentBits == 5 && magnitude == 0x7C ? (isNegative ? -.infinity : .infinity) : .nan
      }
      let field = magnitude >> mantissaBits
      let fraction = magnitude & (1 << mantissaBits - 1)
      let value = field == 0
        ? Float(fraction) * powerOfTwo(1 - bias - mantissaBits)
        : Float(fraction + 1 << mantissaBits) * powerOfTwo(field - bias - mantissaBits)
      return isNegative ? -value : value
    }
  }

  /// The code nearest to `value`, ties to the even code, beyond the largest value saturating; a negative float that
  /// rounds to zero keeps its sign.
  ///
  /// - Precondition: `value` is not NaN: a block that holds one has no elements (see ``ScalarCodec``).
  public func encode(_ value: Float) -> UInt8 { encode(Double(value)) }

  /// Double holds v / 2^e exactly for every fp32 v and every block scale, so a block's elements are rounded once.
  func encode(_ value: Double) -> UInt8 {
    precondition(!value.isNaN, "NaN has no element code")
    switch kind {
    case .integer:
      let largest = Double(maxCode)
      let steps = (value * Double(1 << (bits - 2))).rounded(.toNearestOrEven)
      return UInt8(bitPattern: Int8(max(-largest, min(largest, steps))))
    case .float(_, let mantissaBits, let bias):
      let sign = value.sign == .minus ? signMask : 0
      guard value.magnitude < 2 * Double(maxValue) else { return sign | maxCode }
      // Subnormals share the exponent of the smallest normal; a carry out of the mantissa moves to the next exponent.
      let smallest = 1 - bias
      let exponent = value.isZero ? smallest : max(smallest, Int(value.exponent))
      let unit = Double(sign: .plus, exponent: exponent - mantissaBits, significand: 1)
      let units = (value.magnitude / unit).rounded(.toNearestOrEven)
      let code = Int(units) + (exponent - smallest) << mantissaBits
      return sign | UInt8(min(code, Int(maxCode)))
    }
  }
}

func powerOfTwo(_ exponent: Int) -> Float { Float(sign: .plus, exponent: exponent, significand: 1) }
