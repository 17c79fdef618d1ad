package import CKernels
public import Formats

/// A slice plan in the form the kernels read: built once, then used without allocation.
public struct CompiledSlice: Sendable {
  public let anchor: MXFormat
  public let target: MXFormat
  package let raw: ck_slice

  public init(_ plan: SlicePlan) {
    anchor = plan.anchor
    target = plan.target
    var raw = ck_slice()
    // Sound: the C table and that of every plan are 256 bytes; the copy traps if the source is larger.
    unsafe withUnsafeMutableBytes(of: &raw.table) { unsafe $0.copyBytes(from: plan.table) }
    raw.scale_delta = Int32(plan.scaleDelta)
    raw.zero_mask = plan.zeroMask
    self.raw = raw
  }
}

extension ElementFormat {
  /// What the kernels know of an element; a plain struct on the stack.
  package var ckElement: ck_element {
    ck_element(
      is_float: isInteger ? 0 : 1, bits: Int32(bits), exponent_bits: Int32(exponentBits),
      mantissa_bits: Int32(mantissaBits), bias: Int32(bias), emax: Int32(emax), max_code: Int32(maxCode),
      max_value: maxValue)
  }
}

extension ScaleRule {
  package var ckScaleRule: ck_scale_rule {
    switch self {
    case .floor: CK_SCALE_FLOOR
    case .rceil: CK_SCALE_RCEIL
    case .even: CK_SCALE_EVEN
    }
  }
}
