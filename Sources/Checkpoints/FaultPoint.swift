import Glibc
import Synchronization

/// A place in a save where tests stop the process, to kill it there.
///
/// With `MFQAT_FAULT=POINT:N:FILE` the process that passes POINT for the N-th time makes FILE and goes no further; who
/// watches for FILE then kills whom it likes. Without the variable nothing happens.
public enum FaultPoint: String, CaseIterable, Sendable {
  /// The temporary directory is there and holds nothing but small files.
  case beforeFirstByte = "before-first-byte"
  /// A tensor of several has been written.
  case middleOfFile = "middle-of-file"
  /// The data of this rank are durable.
  case dataSynchronized = "data-synchronized"
  /// The data of all ranks are durable, the manifest is not begun.
  case beforeManifest = "before-manifest"
  /// Everything is durable under the temporary name.
  case beforeRename = "before-rename"
  /// The checkpoint is there; older ones still are.
  case afterRename = "after-rename"
  /// An older checkpoint has lost its name and holds its files.
  case duringPrune = "during-prune"

  /// Goes on, or makes the file and stands still for ever.
  public func reached() {
    guard let trap = Self.trap, trap.point == self, trap.visits.add(1, ordering: .relaxed).newValue == trap.visit else {
      return
    }
    let file = unsafe open(trap.file, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
    if file >= 0 { close(file) }
    while true { pause() }
  }

  private final class Trap: Sendable {
    let point: FaultPoint, visit: Int, file: String
    let visits = Atomic<Int>(0)

    init?(_ text: String) {
      let parts = text.split(separator: ":", maxSplits: 2).map(String.init)
      guard parts.count == 3, let point = FaultPoint(rawValue: parts[0]), let visit = Int(parts[1]) else { return nil }
      (self.point, self.visit, file) = (point, visit, parts[2])
    }
  }

  private static let trap: Trap? = unsafe getenv("MFQAT_FAULT").flatMap { unsafe Trap(String(cString: $0)) }
}
