/// `distillation`: the unquantized original as teacher. Loss = hard_weight · cross entropy + weight · T² · KL.
public struct DistillationSettings: Sendable, Hashable {
  /// Factor of KL(teacher ‖ student); 0 is off.
  public var weight = 0.0
  public var temperature = 1.0
  /// Factor of the cross entropy with the text.
  public var hardWeight = 1.0

  public init() {}

  public var isOn: Bool { weight > 0 }
}

extension DistillationSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("weight", \.weight, """
      Factor of the divergence from the full-precision original (Kullback-Leibler, times temperature squared); 0 is off.
      """),
    SettingKey("temperature", \.temperature, "What both models' logits are divided by before they are compared."),
    SettingKey("hard_weight", \.hardWeight, "Factor of the cross entropy with the text."),
  ]
}
