/// `communication`: how ranks exchange weights and gradients.
public struct CommunicationSettings: Sendable, Hashable {
  public var mode = CommunicationMode.exact

  public init() {}
}

public enum CommunicationMode: String, Sendable, Hashable, CaseIterable {
  /// The same bits on any number of ranks.
  case exact
}

extension CommunicationMode: NamedSetting {}

extension CommunicationSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("mode", \.mode, "What the ranks exchange; exact gives the same bits on any number of ranks.")
  ]
}
