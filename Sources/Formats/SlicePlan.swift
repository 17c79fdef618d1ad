/// How the codes of an anchor become the codes of a lower format: a table of 256 entries and a shift of the scale.
///
/// Integers: P_b = clamp(RNE(P_8 / 2^(8-b)), ±L_b), the scale byte unchanged because the implied element scale grows
/// by the same power of two. Floats: D = emax_hi - emax_lo is added to the scale byte and the value divided by 2^D,
/// rounded to nearest even, saturating. A slice starts from the anchor and is never chained: 9 -> 2 -> 0 through six
/// bits, but 9 -> 1 at once.
///
/// The rest of the rule is the kernel's: byte 255 stays, with codes 0; a block without a nonzero code has byte 0 and +0.
public struct SlicePlan: Sendable, Hashable {
  public let anchor: MXFormat
  public let target: MXFormat
  /// The target's code for each of the anchor's.
  public let table: [UInt8]
  /// Added to the scale byte; never negative.
  public let scaleDelta: Int

  /// A sliced code is a zero of either sign if it has none of these bits.
  public var zeroMask: UInt8 { target.element.magnitudeMask }
  public var isIdentity: Bool { anchor == target }

  /// The plan for cutting `target` from `anchor`, or why it cannot be cut.
  public init(from anchor: MXFormat, to target: MXFormat) throws(SliceError) {
    guard Self.canCut(target, from: anchor) else { throw SliceError(anchor: anchor, target: target) }
    self.anchor = anchor
    self.target = target
    table = Self.table(from: anchor.element, to: target.element)
    scaleDelta = anchor.element.emax - target.element.emax
  }

  /// The formats that can be cut from `anchor`, ascending, itself included. A format that is no anchor yields itself.
  public static func formatsCut(from anchor: MXFormat) -> [MXFormat] {
    let cut = MXFormat.all.filter { canCut($0, from: anchor) }
    return cut.isEmpty ? [anchor] : cut
  }

  private static func canCut(_ target: MXFormat, from anchor: MXFormat) -> Bool {
    anchor == target || anchor.isAnchor && anchor.family == target.family && target.bits < anchor.bits
  }

  /// Codes that no finite number produces are mapped all the same: an integer's -128 clamps, infinity and NaN of the
  /// 8-bit floats saturate with their sign. Whoever reads foreign codes checks them with ``ElementFormat/isFinite(_:)``.
  private static func table(from anchor: ElementFormat, to target: ElementFormat) -> [UInt8] {
    let codes = UInt8.min...UInt8.max
    guard anchor != target else { return Array(codes) }
    let shift = Double(sign: .plus, exponent: target.emax - anchor.emax, significand: 1)
    return codes.map { code in
      let isSpecial = !anchor.isInteger && code & anchor.magnitudeMask > anchor.maxCode
      if isSpecial { return target.maxCode | (code & anchor.signMask != 0 ? target.signMask : 0) }
      return target.encode(Double(anchor.decode(code)) * shift)
    }
  }
}

/// A format that cannot be cut from that anchor.
public struct SliceError: Error, Sendable, Hashable, CustomStringConvertible {
  public let anchor: MXFormat
  public let target: MXFormat

  /// What can be cut from it instead.
  public var possible: [MXFormat] { SlicePlan.formatsCut(from: anchor) }

  public var description: String {
    let reason =
      if anchor.family != target.family {
        "\(anchor) and \(target) are of different families"
      } else if !anchor.isAnchor {
        "\(anchor) is no anchor: slices are cut from formats of 8 bits, never from a slice"
      } else {
        "\(target) is not narrower than \(anchor)"
      }
    let choice = possible.count > 1
      ? "from \(anchor) can be cut: \(possible.map(\.name).joined(separator: ", "))"
      : "\(anchor) can only be used as it is"
    return "cannot slice \(target) from \(anchor): \(reason); \(choice)"
  }
}
