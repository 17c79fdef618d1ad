/// fp32 to and from the 16-bit formats of model files. Cold code: loading is bound by the disk.
enum FloatConversion {
  /// Exact: bf16 is the upper half of fp32.
  static func float(bfloat16 bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }

  /// Exact, by integers, so that no denormal mode of the processor matters. NaN payloads are kept.
  static func float(float16 bits: UInt16) -> Float {
    let sign = UInt32(bits & 0x8000) << 16
    let exponent = UInt32(bits >> 10 & 31), mantissa = UInt32(bits & 1023)
    switch exponent {
    case 31: return Float(bitPattern: sign | 0x7F80_0000 | mantissa << 13)
    case 0: return Float(bitPattern: sign | (Float(mantissa) * 0x1p-24).bitPattern)
    default: return Float(bitPattern: sign | (exponent + 112) << 23 | mantissa << 13)
    }
  }

  /// Round to nearest, ties to even; NaN stays a (quiet) NaN.
  static func bfloat16(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    if value.isNaN { return UInt16(bits >> 16) | 0x0040 }
    return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
  }

  /// Round to nearest, ties to even; beyond 65504 an infinity.
  static func float16(_ value: Float) -> UInt16 { Float16(value).bitPattern }
}
