public import Checkpoints
public import Formats
public import Transformer

/// The format of every quantized tensor of a model. It travels in the metadata of the anchor it led to.
public struct AllocationPlan: Sendable, Hashable {
  /// By tensor name.
  public let formats: [String: MXFormat]

  public init(_ formats: [String: MXFormat]) { self.formats = formats }

  /// One format per group.
  public init(_ groups: [AllocationGroup], _ formats: [MXFormat]) {
    precondition(groups.count == formats.count, "\(formats.count) formats for \(groups.count) groups")
    self.formats = Dictionary(
      uniqueKeysWithValues: zip(groups, formats).flatMap { group, format in group.tensors.map { ($0.name, format) } })
  }

  public subscript(tensor: String) -> MXFormat? { formats[tensor] }

  public func mix(_ layout: ParameterLayout) -> FormatMix { FormatMix(formats, layout) }

  /// Tensor names to format names.
  public var json: JSONValue {
    var object = JSONObject()
    for name in formats.keys.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
      object[name] = formats[name].map { .string($0.name) }
    }
    return .object(object)
  }

  public init(json: JSONValue, source: String) throws(CalibrationError) {
    guard let object = json.object else {
      throw CalibrationError(source, "an allocation plan is an object, found \(json.kind)")
    }
    var formats: [String: MXFormat] = [:]
    for (name, value) in object.members {
      guard let text = value.string else {
        throw CalibrationError(source, "the format of '\(name)' is a name, found \(value.kind)")
      }
      do { formats[name] = try MXFormat(named: text) } catch {
        throw CalibrationError(source, "tensor '\(name)': \(error)")
      }
    }
    self.formats = formats
  }
}
