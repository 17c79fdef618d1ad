import Checkpoints
import Foundation
import Glibc
import Testing

/// What saving and loading take besides the state itself: some chunks, however large it is and of however many tensors.
///
/// Each in a process of its own, so that the peak belongs to it.
@Suite struct DenseRowsMemoryTests {
  /// 256 MiB: one large tensor and many of several small sizes, as layers have them. Values do not shrink much, as
  /// weights do not.
  @safe final class State {
    static let shapes = [(4096, 8192)] + (0..<180).flatMap { _ in [(512, 256), (160, 256), (320, 1), (1, 500)] }
    let count = State.shapes.reduce(0) { $0 + $1.0 * $1.1 }
    let values: UnsafeMutablePointer<Float>

    init() {
      unsafe values = .allocate(capacity: count)
      var word: UInt32 = 1
      for index in 0..<count {
        word = word &* 1_664_525 &+ 1_013_904_223
        unsafe values[index] = Float(bitPattern: 0x3C00_0000 | word >> 6)
      }
    }

    func hash() -> ContentHash { unsafe ContentHash(UnsafeRawBufferPointer(start: values, count: 4 * count)) }
    func clear() { unsafe values.update(repeating: 0, count: count) }

    var rows: [DenseRows] {
      var offset = 0
      return Self.shapes.enumerated().map { index, shape in
        defer { offset += shape.0 * shape.1 }
        return unsafe DenseRows(
          "master/\(index)", tensorRows: shape.0, columns: shape.1, rows: 0..<shape.0, values: values + offset)
      }
    }
  }

  /// The most memory that `body` has beyond what there was before it, in MiB.
  static func growth(_ body: () throws -> Void) throws -> Int {
    func status(_ key: String) throws -> Int {
      let text = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
      let line = try #require(text.split(separator: "\n").first { $0.hasPrefix(key) })
      return try #require(Int(line.filter(\.isNumber))) / 1024
    }
    // The peak so far becomes what is resident now.
    try Data("5".utf8).write(to: URL(fileURLWithPath: "/proc/self/clear_refs"))
    let before = try status("VmHWM:")
    try body()
    return try status("VmHWM:") - before
  }

  /// Ends the process.
  static func measure(threads: Int) throws -> Never {
    let scratch = try Scratch(), state = State(), rows = state.rows, hash = state.hash()
    let options = ContainerOptions(chunkBytes: 1 << 20)
    let writer = try ContainerWriter(directory: scratch("a"), kind: .checkpoint, options: options)
    let directory = writer.temporary
    let written = try growth {
      writer.add(try ContainerPartWriter.write(rows, into: directory, writer: 0, threads: threads, options: options))
    }
    let committed = try growth { try writer.commit() }
    state.clear()
    let read = try growth { try TensorContainer(scratch("a")).read(rows, threads: threads) }
    let isSame = state.hash() == hash
    try? FileManager.default.removeItem(atPath: scratch.path)
    print("\(written) \(committed) \(read)")
    exit(isSame ? 0 : 1)
  }

  /// MiB a thread: four planes of 1 MiB, a compressed chunk, the compressor; 7 where this was written.
  static let limit = 16

  private func expectBound(_ result: ExitTest.Result?, threads: Int) throws {
    let text = String(decoding: try #require(result).standardOutputContent, as: UTF8.self)
    let figures = text.split(whereSeparator: \.isWhitespace).suffix(3).compactMap { Int($0) }
    let words = "\(threads) thread(s), MiB of writing, of the manifest, of reading: \(figures)"
    #expect(figures.count == 3 && figures.allSatisfy { $0 <= Self.limit * threads }, "\(words)")
    print(words)
  }

  @Test func oneThread() async throws {
    let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
      try DenseRowsMemoryTests.measure(threads: 1)
    }
    try expectBound(result, threads: 1)
  }

  @Test func twoThreads() async throws {
    let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
      try DenseRowsMemoryTests.measure(threads: 2)
    }
    try expectBound(result, threads: 2)
  }
}
