public import Formats
public import Quantization

/// `training.precision`: what the matrix products of the linear layers run in.
public struct PrecisionSettings: Sendable, Hashable {
  /// What becomes of a layer that low precision would not make faster.
  public enum SmallLayers: String, Sendable, Hashable, CaseIterable {
    /// It stays in fp32, and the log says so.
    case fp32
    /// It runs as it was asked for.
    case keep
  }

  public var forward = MatmulPrecision.fp32
  public var backward = MatmulPrecision.fp32
  var chosenWeightGradient: Automatic<MatmulPrecision> = .auto
  var chosenHead: Automatic<MatmulPrecision> = .auto
  public var policy = RotationPolicy.contraction
  public var rotation = 64
  public var fullWidth = false
  public var signs = LinearArithmetic.Signs.fixed
  var chosenRounding: Automatic<LinearArithmetic.Rounding> = .auto
  public var format = MXFormat.mxint8
  public var smallLayers = SmallLayers.fp32
  /// Pattern over checkpoint names to a policy or a precision.
  public var layers = ConfigurationMapping()

  public init() {}

  /// Default: as `backward`.
  public var weightGradient: MatmulPrecision {
    get { chosenWeightGradient.or(backward) }
    set { chosenWeightGradient = .chosen(newValue) }
  }

  /// Default: bf16 where the layers leave fp32 in both directions, else fp32.
  public var head: MatmulPrecision {
    get { chosenHead.or(forward == .fp32 || backward == .fp32 ? .fp32 : .bf16) }
    set { chosenHead = .chosen(newValue) }
  }

  /// Default: stochastic where gradients have 4 bits, else nearest.
  public var gradientRounding: LinearArithmetic.Rounding {
    get { chosenRounding.or(format.bits <= 4 ? .stochastic : .nearest) }
    set { chosenRounding = .chosen(newValue) }
  }

  public var isFullPrecision: Bool {
    forward == .fp32 && backward == .fp32 && weightGradient == .fp32 && head == .fp32 && layers.entries.isEmpty
  }

  /// The arithmetic of the decoder's linear layers.
  public var ofLayers: LinearArithmetic {
    var arithmetic = LinearArithmetic()
    arithmetic.forward = forward
    arithmetic.backward = backward
    arithmetic.weightGradient = weightGradient
    arithmetic.policy = policy
    arithmetic.rotationBlock = rotation
    arithmetic.rotatesFullWidth = fullWidth
    arithmetic.signs = signs
    arithmetic.gradientRounding = gradientRounding
    arithmetic.format = format
    return arithmetic
  }

  /// The arithmetic of the output head, whose gradients are differences of probabilities: in small formats they keep
  /// rotation and blocks of their own, never one scale a tensor.
  public var ofHead: LinearArithmetic {
    var arithmetic = ofLayers.running(in: head)
    if arithmetic.isHALO { arithmetic.policy = .contraction }
    return arithmetic
  }

  mutating func resolve() {
    weightGradient = weightGradient
    head = head
    gradientRounding = gradientRounding
  }
}

extension LinearArithmetic {
  var precisions: [MatmulPrecision] { [forward, backward, weightGradient] }

  /// The same with every product in one precision.
  func running(in precision: MatmulPrecision) -> LinearArithmetic {
    var arithmetic = self
    arithmetic.forward = precision
    arithmetic.backward = precision
    arithmetic.weightGradient = precision
    return arithmetic
  }
}

extension MatmulPrecision: NamedSetting {}
extension RotationPolicy: NamedSetting {}
extension LinearArithmetic.Signs: NamedSetting {}
extension LinearArithmetic.Rounding: NamedSetting {}
extension PrecisionSettings.SmallLayers: NamedSetting {}

extension PrecisionSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("forward", \.forward, """
      Products of the forward pass: fp32, bf16, int8 (a scale for every row) or mx (a scale for every 32 elements). Under \
      int8 and mx a quantized weight is multiplied by its own codes, exactly as it will be deployed; formats that bytes \
      do not carry (mxfp6_e3m2, mxfp8) run in bf16, which holds them exactly.
      """),
    SettingKey("backward", \.backward, "Products that give the gradients of the layers' inputs."),
    SettingKey("weight_gradient", \.chosenWeightGradient, """
      Products that give the gradients of weights, the first to suffer from few bits; auto is as backward.
      """),
    SettingKey("head", \.chosenHead, """
      All three products of the output head; auto is bf16 where forward and backward leave fp32, else fp32.
      """),
    SettingKey("policy", \.policy, """
      Rotations against outliers: contraction (both operands, along the contracted axis), halo0, halo1 or halo2 (one \
      scale a tensor, as HALO places them; with int8 only) or none.
      """),
    SettingKey("rotation", \.rotation, """
      Block of the Hadamard rotations, 16, 32, 64 or 128; an axis that it does not divide takes a smaller one.
      """),
    SettingKey("full_width", \.fullWidth, "Rotate a whole axis where a Hadamard matrix of its size exists (slower)."),
    SettingKey("signs", \.signs, """
      Random signs of the rotations: fixed (drawn once from training.seed), redraw (every step) or none.
      """),
    SettingKey("rounding", \.chosenRounding, """
      Of gradients: nearest or stochastic (unbiased); auto is stochastic for a format of 4 bits, else nearest.
      """),
    SettingKey("format", \.format, """
      Format of activations, gradients and unquantized weights under mx; one whose elements a byte carries.
      """),
    SettingKey("small_layers", \.smallLayers, """
      Layers that low precision would not make 1.2 times faster: fp32 (they stay there, and the log says so) or keep.
      """),
    SettingKey("layers", \.layers, """
      Exceptions, glob pattern over checkpoint names to a policy or a precision, e.g. {"model.layers.0.**": fp32}; of \
      several patterns that match, the last one written holds.
      """),
  ]
}
