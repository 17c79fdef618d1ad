import Foundation
import Glibc

/// What a device does with plain files: bytes written in order and brought to the device, bytes read in order.
enum DiskProbe {
  private static let pieceSize = 8 << 20

  struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ operation: String, _ path: String) {
      description = unsafe "\(operation) \(path): \(String(cString: strerror(errno)))"
    }
  }

  /// Writes `parts` one after the other into the new file `path`, with fsync.
  static func write(_ parts: [[UInt8]], to path: String) throws {
    let file = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard file >= 0 else { throw Failure("create", path) }
    defer { close(file) }
    for part in parts {
      try unsafe part.withUnsafeBytes { bytes in
        var done = 0
        while done < bytes.count {
          let count = unsafe Glibc.write(file, bytes.baseAddress! + done, min(pieceSize, bytes.count - done))
          guard count > 0 else { throw Failure("write", path) }
          done += count
        }
      }
    }
    guard fsync(file) == 0 else { throw Failure("synchronize", path) }
  }

  /// Reads all of `paths` in order. Returns how many bytes that were.
  static func read(_ paths: [String]) throws -> Int {
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: pieceSize, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    var total = 0
    for path in paths {
      let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
      guard file >= 0 else { throw Failure("open", path) }
      defer { close(file) }
      while true {
        let count = unsafe Glibc.read(file, buffer, pieceSize)
        guard count >= 0 else { throw Failure("read", path) }
        if count == 0 { break }
        total += count
      }
    }
    return total
  }

  /// Drops synchronized files from the cache. Returns which share of them is still in memory.
  static func drop(_ paths: [String]) throws -> Double {
    var resident = 0, pages = 0
    for path in paths {
      let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
      guard file >= 0 else { throw Failure("open", path) }
      defer { close(file) }
      _ = posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
      let size = Int(lseek(file, 0, SEEK_END))
      guard size > 0, let map = unsafe mmap(nil, size, PROT_READ, MAP_SHARED, file, 0), unsafe map != MAP_FAILED else {
        continue
      }
      defer { unsafe _ = munmap(map, size) }
      var states = [UInt8](repeating: 0, count: (size + 4095) / 4096)
      guard unsafe mincore(map, size, &states) == 0 else { throw Failure("look at the cache of", path) }
      resident += states.count { $0 & 1 != 0 }
      pages += states.count
    }
    return pages == 0 ? 0 : Double(resident) / Double(pages)
  }
}
