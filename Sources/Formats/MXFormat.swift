/// A block number format: one element type, blocks of 32 along the input axis, one E8M0 scale a block.
///
/// A format is a value: configuration, container, kernel, wire and report share this one.
/// Source: OCP Microscaling Formats (MX) v1.0, table 1; MXINT2...7 are extensions with two's complement elements.
public struct MXFormat: Sendable, Hashable {
  public let name: String
  public let element: ElementFormat

  /// Elements that share one scale.
  public static let blockSize = 32

  init(_ name: String, _ element: ElementFormat) {
    self.name = name
    self.element = element
  }
}
