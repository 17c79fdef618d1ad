/// `communication`: how ranks exchange weights and gradients.
public struct CommunicationSettings: Sendable, Hashable {
  public var gradients = GradientTransport.exact
  public var weights = WeightTransport.auto
  public var sharding = Sharding.replicate
  public var rounding = WireRoundingRule.stochastic
  public var errorFeedback = false
  public var overlap = true
  public var checkEvery = 100
  public var watchdogSeconds = 600.0

  public init() {}
}

/// How gradients reach the owners of their rows.
public enum GradientTransport: String, Sendable, Hashable, CaseIterable {
  /// Lane by lane in fp32: the same bits on any number of ranks.
  case exact
  case fp32, bf16, int8
  /// 8 bits within a node, 4 bits between nodes.
  case twoLevel = "two_level"
}

/// How weights reach the ranks that compute with them.
public enum WeightTransport: String, Sendable, Hashable, CaseIterable {
  /// `anchor` in a quantized run, `fp32` in one without formats.
  case auto
  case fp32, bf16
  /// Codes of the quantized tensors, exactly those that an anchor file will hold; the rest in fp32.
  case anchor
  /// 4-bit differences to the replica that every rank holds.
  case delta
  /// Codes as lossless differences to those before.
  case codeDelta = "code_delta"
}

/// What of the weights a rank keeps between their uses.
public enum Sharding: String, Sendable, Hashable, CaseIterable {
  /// All of them.
  case replicate
  /// Its own rows; a layer is gathered for its forward, again for its backward, and freed.
  case layers
}

/// How gradients are rounded to the codes of the wire.
public enum WireRoundingRule: String, Sendable, Hashable, CaseIterable {
  case stochastic, nearest
}

extension GradientTransport: NamedSetting {}
extension WeightTransport: NamedSetting {}
extension Sharding: NamedSetting {}
extension WireRoundingRule: NamedSetting {}

extension CommunicationSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("gradients", \.gradients, """
      How gradients travel. exact adds lane by lane in fp32, with the same bits on any number of ranks; the others add up a \
      rank's lanes first, and their bits depend on the number of ranks: fp32, bf16, int8 (8.25 bits), two_level (8.25 bits \
      within a node, 4.25 between nodes).
      """),
    SettingKey("weights", \.weights, """
      How weights travel. anchor sends the codes that the anchor will hold (exact, 8.25 bits), code_delta their lossless \
      differences, delta 4-bit differences to a replica on every rank (lossy, 4.02 bits, no error grows); auto is anchor, or \
      fp32 without quantization.
      """),
    SettingKey("sharding", \.sharding, """
      What a rank keeps of the weights. With layers it holds its own rows and gathers a layer for every use: less memory, \
      more traffic.
      """),
    SettingKey("rounding", \.rounding, "How gradients are rounded to codes; stochastic is without bias."),
    SettingKey("error_feedback", \.errorFeedback, """
      Add what rounding lost to the next step's gradient; takes 4 bytes a parameter on every rank (int8, two_level).
      """),
    SettingKey("overlap", \.overlap, "Send while the next unit computes."),
    SettingKey("check_every", \.checkEvery, """
      Steps between comparisons of the weights that ranks hold, which must be equal to the bit; 0 is never.
      """),
    SettingKey("watchdog_seconds", \.watchdogSeconds, """
      Seconds without progress after which a rank says where it stands and ends the job with status 75; 0 is never.
      """),
  ]
}
