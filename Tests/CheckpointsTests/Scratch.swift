import Checkpoints
import Foundation
import Glibc
import Testing

/// A directory of its own for one test, removed with it.
final class Scratch {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("checkpoints-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func callAsFunction(_ name: String) -> String { path + "/" + name }

  @discardableResult
  func write(_ bytes: [UInt8], _ name: String) throws -> String {
    try Data(bytes).write(to: URL(fileURLWithPath: self(name)))
    return self(name)
  }
}

func contents(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

func names(in path: String) throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: path).sorted() }

/// The error `body` throws; the test fails when it throws none.
func refusal(_ body: () throws -> Void, sourceLocation: SourceLocation = #_sourceLocation) -> CheckpointError? {
  do {
    try body()
    Issue.record("nothing was refused", sourceLocation: sourceLocation)
  } catch let error as CheckpointError {
    return error
  } catch {
    Issue.record(error, sourceLocation: sourceLocation)
  }
  return nil
}

func expectRefusal(
  _ word: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) {
  guard let error = refusal(body, sourceLocation: sourceLocation) else { return }
  #expect(error.description.contains(word), "\(error)", sourceLocation: sourceLocation)
}

/// A file system of 1 MiB, where the process may mount one.
final class TinyDisk {
  let path: String

  static let isAvailable: Bool = (try? TinyDisk()) != nil
  static let absence = "mounting a small tmpfs needs root"

  struct Unavailable: Error {}

  init() throws {
    path = NSTemporaryDirectory() + "/tinydisk-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    guard unsafe mount("tmpfs", path, "tmpfs", 0, "size=1m") == 0 else {
      unsafe rmdir(path)
      throw Unavailable()
    }
  }

  deinit {
    unsafe umount2(path, Int32(MNT_DETACH))
    unsafe rmdir(path)
  }
}

/// Numbers that depend on their index alone.
func word(_ index: Int, seed: UInt64 = 0) -> UInt64 {
  var z = (UInt64(index) &+ seed &* 0x1000_0001) &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678
  z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
  z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
  return z ^ z >> 31
}

/// Roughly normal values, as weights are.
func weights(_ count: Int, seed: UInt64) -> [Float] {
  (0..<count).map { index in
    let bits = word(index, seed: seed)
    let sum = (0..<4).reduce(0 as Float) { $0 + Float(bits >> UInt64(16 * $1) & 0xFFFF) / 65536 - 0.5 }
    return sum * 0.05
  }
}

func bytes(_ count: Int, seed: UInt64, below: UInt64 = 256) -> [UInt8] {
  (0..<count).map { UInt8(word($0, seed: seed) % below) }
}
