/// The three products of a linear layer with X (b, m), W (n, m), E_Y (b, n); b tokens, m inputs, n outputs.
///
/// Each is left · right, contracted over `contraction`; the letters are those of the HALO paper.
public enum LinearProduct: String, Sendable, Hashable, CaseIterable {
  /// F: Y = X · Wᵀ
  case forward
  /// E: E_X = E_Y · W
  case inputGradient
  /// G: G = E_Yᵀ · X
  case weightGradient

  public var contraction: RotationSigns.Axis {
    switch self {
    case .forward: .input
    case .inputGradient: .output
    case .weightGradient: .tokens
    }
  }

  /// The axis that the left operand gives to the output's rows.
  public var leftAxis: RotationSigns.Axis {
    switch self {
    case .forward, .inputGradient: .tokens
    case .weightGradient: .output
    }
  }

  /// The axis that the right operand gives to the output's columns.
  public var rightAxis: RotationSigns.Axis {
    switch self {
    case .forward: .output
    case .inputGradient, .weightGradient: .input
    }
  }
}

/// Where rotations stand around one product left · right, before its operands are quantized.
public struct RotationPlacement: OptionSet, Sendable, Hashable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// (L R) (Rᵀ M): both operands along the contracted axis, by the same operator. Cancels; nothing is undone.
  public static let middle = RotationPlacement(rawValue: 1)
  /// Rᵀ L along the left operand's own axis; undone on the rows of the output.
  public static let left = RotationPlacement(rawValue: 2)
  /// M R along the right operand's own axis; undone on the columns of the output.
  public static let right = RotationPlacement(rawValue: 4)
}

/// Which operands of F, E and G are rotated before they are quantized, and what is undone afterwards.
///
/// R_d = diag(s) · H_d is orthogonal: with the quantizer off every policy gives the plain products.
///
/// | policy | F: Y = X Wᵀ | E: E_X = E_Y W | G = E_Yᵀ X | transforms |
/// | --- | --- | --- | --- | --- |
/// | contraction | (X R_m)_Q (W R_m)ᵀ_Q | (E_Y R_n)_Q (R_nᵀ W)_Q | (R_bᵀ E_Y)ᵀ_Q (R_bᵀ X)_Q | 6, fused |
/// | halo0 | X_Q Wᵀ_Q | (E_Y)_Q W_Q | (E_Y)ᵀ_Q X_Q | 0 |
/// | halo1 | (X R_m)_Q (W R_m)ᵀ_Q | [(E_Y)_Q (W R_m)_Q] R_mᵀ | [(E_Y)ᵀ_Q (X R_m)_Q] R_mᵀ | 4 |
/// | halo2 | (X R_m)_Q (W R_m)ᵀ_Q | R_b [(R_bᵀ E_Y)_Q (W R_m)_Q] R_mᵀ | [(E_Y)ᵀ_Q (X R_m)_Q] R_mᵀ | 6 |
/// | none | X_Q Wᵀ_Q | (E_Y)_Q W_Q | (E_Y)ᵀ_Q X_Q | 0 |
///
/// The halo levels are those of HALO (Ashkboos et al. 2025, arXiv 2501.02625) and scale whole tensors, as it does; the
/// others scale each vector along the contracted axis.
public enum RotationPolicy: String, Sendable, Hashable, CaseIterable {
  /// Both operands of every product along its contracted axis, in blocks:
  /// - F: X and W along the inputs; nothing is undone.
  /// - E: E_Y and W along the outputs; nothing is undone.
  /// - G: E_Y and X along the tokens (zero-padded alike); nothing is undone.
  case contraction
  /// HALO-0, for FP8: no operand is rotated, one scale for each tensor.
  case halo0
  /// HALO-1, for FP6; the paper rotates whole axes, the default here is blocks:
  /// - F: X and W along the inputs; nothing is undone. Both serve E and G as they are quantized here.
  /// - E: W along the inputs; undone on the columns of E_X. E_Y is not rotated.
  /// - G: X along the inputs; undone on the columns of G. E_Y is not rotated.
  case halo1
  /// HALO-2, for INT8; the paper rotates whole axes, the default here is blocks:
  /// - F: as halo1.
  /// - E: W along the inputs, undone on the columns of E_X; E_Y along the tokens, undone on the rows of E_X.
  /// - G: as halo1: E_Y is quantized a second time, not rotated.
  case halo2
  /// No operand is rotated, one scale for each vector.
  case none

  public func placement(in product: LinearProduct) -> RotationPlacement {
    switch (self, product) {
    case (.halo0, _), (.none, _): []
    case (.contraction, _), (.halo1, .forward), (.halo2, .forward): .middle
    case (.halo1, .inputGradient), (.halo1, .weightGradient), (.halo2, .weightGradient): .right
    case (.halo2, .inputGradient): [.left, .right]
    }
  }

  /// One scale for each tensor instead of one for each vector along the contracted axis.
  public var scalesWholeTensors: Bool {
    switch self {
    case .halo0, .halo1, .halo2: true
    case .contraction, .none: false
    }
  }
}

/// What the products of a linear layer are computed in. Master weights, outputs and accumulators are fp32 in each.
public enum MatmulPrecision: String, Sendable, Hashable, CaseIterable {
  case fp32
  /// Operands rounded to bfloat16, to nearest even.
  case bf16
  /// Symmetric 8-bit integers in -127...127, one scale for each vector (or tensor, by the policy).
  case int8
  /// MX elements with one power-of-two scale for each 32 along the contracted axis.
  case mx
}

extension MatmulPrecision {
  /// Products of 8-bit integers, which rotations help; bf16 has an exponent for every element.
  public var isInteger: Bool { self == .int8 || self == .mx }
}
