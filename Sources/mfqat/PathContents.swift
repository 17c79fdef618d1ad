import Checkpoints
import Reports
import Text
import Transformer

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What `inspect` and `verify` can be pointed at.
enum PathContents {
  case folder(String)
  case anchor(String)
  /// A container with the state of a training run.
  case checkpoint(String)
  case tokenFile(String)
  /// A run directory, with what it has produced so far.
  case run(String)

  static func at(_ path: String) throws -> PathContents {
    if isTokenFile(path) { return .tokenFile(path) }
    if isRun(path) { return .run(path) }
    switch try ModelSources.kind(of: path) {
    case .huggingFaceFolder: return .folder(path)
    case .anchor, .checkpoint: return container(path)
    case .run: return .run(path)
    }
  }

  /// A file that begins as token files do.
  static func isTokenFile(_ path: String) -> Bool {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var first = [UInt8](repeating: 0, count: 8)
    let count = unsafe first.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
    return count == 8 && first == Array("MFQTOKEN".utf8)
  }

  private static func container(_ path: String) -> PathContents {
    ContainerManifest.claimedKind(in: path) == ContainerKind.checkpoint.name ? .checkpoint(path) : .anchor(path)
  }

  /// A model folder holds a configuration, too, but no record.
  private static func isRun(_ path: String) -> Bool {
    FileBytes.exists(path + "/" + RunSummary.metricsFile) && !FileBytes.exists(path + "/config.json")
  }

  /// The anchor and the checkpoints of a run, newest first.
  static func models(ofRun path: String) -> [PathContents] {
    var models: [PathContents] = []
    if TensorContainer.isContainer(path + "/anchor") { models.append(.anchor(path + "/anchor")) }
    let marks = FileBytes.names(in: path + "/checkpoints").compactMap { StepMark(name: $0) }
    return models + marks.sorted(by: >).map { .checkpoint(path + "/checkpoints/" + $0.name) }
  }
}
