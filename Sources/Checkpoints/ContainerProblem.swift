/// Something wrong in a container or a model folder, as precisely as it is known.
public struct ContainerProblem: Sendable, Hashable, CustomStringConvertible {
  public var tensor: String?
  public var plane: StoredPlane.Kind?
  public var file: String?
  /// Bytes of `file`.
  public var range: Range<Int>?
  public var message: String

  public var description: String {
    var place: [String] = []
    if let tensor { place.append("tensor \"\(printable(tensor))\"") }
    if let plane { place.append("plane \(plane)") }
    if let file { place.append("file \(printable(file))") }
    if let range { place.append("bytes \(range.lowerBound)..<\(range.upperBound)") }
    return (place.isEmpty ? "" : place.joined(separator: ", ") + ": ") + printable(message)
  }
}

extension ContainerProblem {
  /// What kept the thing in `directory` from being opened.
  init(opening directory: String, _ error: CheckpointError) {
    // Files of the directory go by their names, as everywhere else.
    let prefix = Directories.join(directory, "")
    self.init(
      tensor: error.tensor,
      file: error.path.map { $0.hasPrefix(prefix) && $0 != prefix ? String($0.dropFirst(prefix.count)) : $0 },
      message: error.description)
  }
}
