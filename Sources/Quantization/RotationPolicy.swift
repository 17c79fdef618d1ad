/// Placeholder until merge.
public enum RotationPolicy: String, Sendable, Hashable, CaseIterable {
  case contraction, halo0, halo1, halo2, none
}

/// What a matrix product of a linear layer runs in.
public enum MatmulPrecision: String, Sendable, Hashable, CaseIterable {
  case fp32, bf16, int8, mx
}

extension MatmulPrecision {
  /// Products of 8-bit integers, which rotations help; bf16 has an exponent for every element.
  public var isInteger: Bool { self == .int8 || self == .mx }
}
