/// What one element of a block can be: an integer or a small float.
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
  /// The largest finite magnitude's code.
  public let maxCode: UInt8
}
