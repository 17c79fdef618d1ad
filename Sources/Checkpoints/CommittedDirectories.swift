/// What happens to directories after their commit: removal, setting aside, cleaning up after killed processes. A crash
/// at any instant leaves no half directory under a valid name.
public enum CommittedDirectories {
  /// Whether `name` is of something that a killed process has left half written or half removed.
  public static func isLeftover(_ name: String) -> Bool { name.contains(".tmp-") || name.contains(".trash-") }

  /// Exchanges the names of two directories beside each other, durably. At no instant is there nothing under either name,
  /// where the file system can do that.
  public static func exchange(_ a: String, _ b: String) throws(CheckpointError) {
    try Directories.exchange(a, b)
    try Directories.synchronize(Directories.parent(of: b))
  }

  /// Removes a committed directory: first from view, then from the disk. After an error it is either whole under its
  /// name or trash under another (`removeTrash`).
  public static func remove(_ path: String) throws(CheckpointError) {
    let path = Directories.trimmed(path)
    let trash = path + ".trash-" + String(UInt64.random(in: .min ... .max), radix: 16)
    try Directories.rename(path, to: trash)
    // Nothing may go before the new name is on the disk: after a loss of power the old one would name half a directory.
    try Directories.synchronize(Directories.parent(of: path))
    FaultPoint.duringPrune.reached()
    try clear(trash)
  }

  /// Removes from the disk what `remove` only got out of view: names in `parent` that begin with `prefix`. Temporaries
  /// stay, which may be of a save that is going on. Returns why what is still there is.
  package static func removeTrash(in parent: String, prefix: String) -> [CheckpointError] {
    guard let names = try? Directories.entries(of: parent) else { return [] }
    var complaints: [CheckpointError] = []
    for name in names where name.hasPrefix(prefix) && name.contains(".trash-") {
      do throws(CheckpointError) {
        try clear(Directories.join(parent, name))
      } catch {
        complaints.append(error)
      }
    }
    return complaints
  }

  private static func clear(_ trash: String) throws(CheckpointError) {
    Directories.removeTree(trash)
    guard Directories.kind(of: trash) == .absent else {
      throw CheckpointError(
        "remove", path: trash, expected: "an empty place", found: "files that cannot be removed",
        hint: "Check the permissions; it is tried again, or remove it by hand")
    }
  }

  /// Why a directory is set aside: what its name then ends with.
  public enum Mark: String, Sendable {
    /// It was refused.
    case corrupt
    /// Another of the same name takes its place.
    case superseded
  }

  /// Renames a directory to `NAME.MARK` (or `NAME.MARK-2` …), for a person to look at; returns the new path. `name` is
  /// its own unless given.
  @discardableResult
  public static func setAside(
    _ path: String, named name: String? = nil, as mark: Mark = .corrupt
  ) throws(CheckpointError) -> String {
    let path = Directories.trimmed(path)
    let plain = Directories.trimmed(name ?? path) + "." + mark.rawValue
    var target = plain
    var number = 2
    while Directories.kind(of: target) != .absent {
      target = plain + "-\(number)"
      number += 1
    }
    try Directories.rename(path, to: target)
    try Directories.synchronize(Directories.parent(of: target))
    return target
  }

  /// Removes what killed processes left in `parent`: temporaries and trash of names that begin with `prefix`. Only
  /// for the one job that owns `parent`. Returns the removed names.
  @discardableResult
  public static func removeLeftovers(in parent: String, prefix: String) throws(CheckpointError) -> [String] {
    guard Directories.kind(of: parent) == .directory else { return [] }
    var removed: [String] = []
    for name in try Directories.entries(of: parent)
    where name.hasPrefix(prefix) && isLeftover(name) {
      Directories.removeTree(Directories.join(parent, name))
      removed.append(name)
    }
    return removed
  }
}
