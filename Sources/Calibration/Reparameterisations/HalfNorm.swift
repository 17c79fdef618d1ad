/// RMSNorm whose sum of squares is FP16, the reference for ``SLaNC``'s claim: scalar, for tests and for reading.
///
///     z = FP16(x / n)      y = z / sqrt(Σ z² / D + ε / n²) · γ      Σ in FP16, in the order of the elements
public enum HalfNorm {
  /// - Parameter scale: n; 1 is the plain norm, whose sum overflows once a single |x| exceeds 255.
  public static func forward(_ x: [Float], gain: [Float], epsilon: Float, scale: Double = 1) -> [Float] {
    precondition(x.count == gain.count && scale > 0,
      "norm of \(x.count) elements with \(gain.count) gains, n = \(scale)")
    let z = x.map { Half(Double($0) / scale) }
    var sum = Half(0)
    for value in z { sum = Half(sum.double + Half(value.double * value.double).double) }
    let mean = sum.double / Double(x.count)
    let reciprocal = 1 / (mean + Double(epsilon) / (scale * scale)).squareRoot()
    return zip(z, gain).map { Float($0.double * reciprocal * Double($1)) }
  }

  /// A binary16 number as the Double of the same value: Float16 is not there on every platform.
  struct Half {
    let double: Double

    /// Rounds to nearest even; beyond 65504 + 16 to infinity.
    init(_ value: Double) {
      guard value.isFinite && value != 0 else {
        double = value
        return
      }
      // 11 significant bits, the last place of subnormals is 2^-24.
      let unit = Double(sign: .plus, exponent: max(Int(value.exponent), -14) - 10, significand: 1)
      let rounded = (value / unit).rounded(.toNearestOrEven) * unit
      double = rounded.magnitude > 65504 ? (value < 0 ? -.infinity : .infinity) : rounded
    }
  }
}
