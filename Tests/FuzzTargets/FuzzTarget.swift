import Glibc

/// What a fuzzer feeds: one reader of files that may be hostile, with what must hold whatever it is given. The same
/// bodies run under libFuzzer (`mfqat-fuzz`) and, once for each input of `Tests/Corpus`, in the short suites.
public enum FuzzTarget: String, CaseIterable, Sendable {
  /// Bytes of a safetensors file.
  case safetensors
  /// `model.safetensors.index.json` beside fixed shards.
  case modelIndex = "model-index"
  /// A container's manifest in any JSON form, its hash computed anew, beside fixed data files.
  case manifest
  /// A container's data file beside its manifest; and the bytes alone as seek table and as a part between ranks.
  case dataFile = "data-file"
  /// Any JSON text.
  case json
  /// `tokenizer.json`.
  case tokenizer
  /// A token file, as it is and with its hashes computed anew.
  case tokenFile = "token-file"

  /// The suites of the package that run the corpus: one a module.
  public static let checkpoints: [FuzzTarget] = [.safetensors, .modelIndex, .manifest, .dataFile, .json]
  public static let text: [FuzzTarget] = [.tokenizer, .tokenFile]

  /// Feeds `input` to the reader. A refusal is as good as an acceptance.
  /// - Throws: `Inconsistency` when what was accepted contradicts itself.
  public func run(_ input: [UInt8]) throws {
    switch self {
    case .safetensors: try CheckpointTargets.safetensors(input)
    case .modelIndex: try CheckpointTargets.modelIndex(input)
    case .manifest: try CheckpointTargets.manifest(input)
    case .dataFile: try CheckpointTargets.dataFile(input)
    case .json: try CheckpointTargets.json(input)
    case .tokenizer: try TextTargets.tokenizer(input)
    case .tokenFile: try TextTargets.tokenFile(input)
    }
  }
}

/// A reader accepted what it must not accept, or says two things about it.
public struct Inconsistency: Error, CustomStringConvertible {
  public let description: String

  static func check(_ holds: Bool, _ what: @autoclosure () -> String) throws {
    if !holds { throw Inconsistency(description: what()) }
  }
}

/// A folder for the files of one process, in memory where the machine has such a file system.
final class FuzzFolder {
  let path: String

  /// Only the thread that fuzzes uses it; tests run the targets one after the other.
  init() {
    let memory = unsafe access("/dev/shm", W_OK) == 0
    let parent = memory ? "/dev/shm" : unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/tmp"
    path = "\(parent)/mfqat-fuzz-\(getpid())-\(UInt64.random(in: .min ... .max))"
    guard unsafe mkdir(path, 0o700) == 0 else { fatalError("cannot create \(path)") }
  }

  deinit {
    for name in written { unsafe _ = unlink(self(name)) }
    unsafe _ = rmdir(path)
  }

  private var written: Set<String> = []

  func callAsFunction(_ name: String) -> String { path + "/" + name }

  @discardableResult
  func write(_ bytes: [UInt8], _ name: String) -> String {
    written.insert(name)
    let descriptor = unsafe open(self(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { fatalError("cannot create \(self(name))") }
    defer { close(descriptor) }
    let count = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
    guard count == bytes.count else { fatalError("cannot write \(self(name))") }
    return self(name)
  }
}
