/// How the scale exponent of a block follows from its largest magnitude m, with E = floor(log2 m).
///
/// Anchors and everything sliced from them use ``floor``: it alone keeps the offset between the scales of two formats
/// constant. The others serve single-format export and are named in the file.
public enum ScaleRule: Sendable, Hashable, CaseIterable {
  /// E - emax. OCP MX v1.0, section 6.3.
  case floor
  /// The smallest exponent s with m / 2^s at most the element's largest value: nothing saturates.
  case rceil
  /// E - emax, one more if m rounded to the element's mantissa bits reaches the next power of two.
  case even

  public var name: String {
    switch self {
    case .floor: "floor"
    case .rceil: "rceil"
    case .even: "even"
    }
  }

  public init?(_ name: String) {
    guard let rule = Self.allCases.first(where: { $0.name == name.lowercased() }) else { return nil }
    self = rule
  }

  /// The E8M0 byte of a block whose largest magnitude is `maximum`.
  ///
  /// 0 for a zero block and for exponents below -127; 255 for NaN and infinity. Only ``rceil`` and ``even`` of integers
  /// could exceed 127, for maxima just below 2^128; they stay at byte 254 and saturate.
  public func scaleByte(forMaximum maximum: Float, element: ElementFormat) -> UInt8 {
    guard maximum.isFinite else { return E8M0.nan }
    guard !maximum.isZero else { return 0 }
    let m = Double(maximum.magnitude)
    var exponent = Int(m.exponent) - element.emax
    switch self {
    case .floor:
      break
    case .rceil:
      if m > Double(element.maxValue) * Double(sign: .plus, exponent: exponent, significand: 1) { exponent += 1 }
    case .even:
      let threshold = 2 - Double(sign: .plus, exponent: -element.mantissaBits - 1, significand: 1)
      if m.significand >= threshold { exponent += 1 }
    }
    return UInt8(max(0, min(254, exponent + 127)))
  }
}

/// The scale of a block: a power of two in a byte, value 2^(byte-127), without zero, sign or infinity.
public enum E8M0 {
  public static let nan: UInt8 = 255

  /// 2^(byte-127), the subnormal 2^-127 for byte 0; NaN for 255.
  public static func value(_ byte: UInt8) -> Float {
    byte == nan ? .nan : powerOfTwo(Int(byte) - 127)
  }

  /// byte - 127, or nil for NaN.
  public static func exponent(_ byte: UInt8) -> Int? {
    byte == nan ? nil : Int(byte) - 127
  }
}
