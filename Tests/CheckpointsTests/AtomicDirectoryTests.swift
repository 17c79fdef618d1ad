import Checkpoints
import Foundation
import Testing

@Suite struct AtomicDirectoryTests {
  @Test func appearsAtCommitOnly() throws {
    let scratch = try Scratch()
    let directory = try AtomicDirectory(target: scratch("deep/er/out/"))
    #expect(directory.temporary.hasPrefix(scratch("deep/er/out.tmp-")))
    try directory.write([1, 2], to: "a")
    #expect(!FileManager.default.fileExists(atPath: directory.target))
    try directory.commit()
    #expect(try contents(scratch("deep/er/out/a")) == [1, 2])
    #expect(try names(in: scratch("deep/er")) == ["out"])
  }

  @Test func droppedOrAbandonedLeavesNothing() throws {
    let scratch = try Scratch()
    do {
      let directory = try AtomicDirectory(target: scratch("out"))
      try directory.write([1], to: "a")
      try FileManager.default.createDirectory(atPath: directory.path("sub"), withIntermediateDirectories: true)
      try FileManager.default.createSymbolicLink(atPath: directory.path("link"), withDestinationPath: "/tmp")
    }
    #expect(try names(in: scratch.path) == [])
    #expect(FileManager.default.fileExists(atPath: "/tmp"))
  }

  @Test func existingContentIsRefusedAndKept() throws {
    let scratch = try Scratch()
    try FileManager.default.createDirectory(atPath: scratch("full"), withIntermediateDirectories: true)
    try scratch.write([9], "full/mine")
    expectRefusal("absent or empty directory") { _ = try AtomicDirectory(target: scratch("full")) }
    try scratch.write([9], "file")
    expectRefusal("a file of that name") { _ = try AtomicDirectory(target: scratch("file")) }
    #expect(try contents(scratch("full/mine")) == [9])

    // Content that appears while we write is not overwritten either, and the temporary goes.
    let late = try AtomicDirectory(target: scratch("late"))
    try FileManager.default.createDirectory(atPath: scratch("late"), withIntermediateDirectories: true)
    try scratch.write([9], "late/mine")
    expectRefusal("absent or empty directory") { try late.commit() }
    #expect(try names(in: scratch.path) == ["file", "full", "late"])

    try FileManager.default.createDirectory(atPath: scratch("empty"), withIntermediateDirectories: true)
    try AtomicDirectory(target: scratch("empty")).commit()
  }

  @Test func filesReplaceWholeOrNotAtAll() throws {
    let scratch = try Scratch()
    try AtomicFile.write([1], to: scratch("f"))
    expectRefusal("absent file") { try AtomicFile.write([2], to: scratch("f")) }
    do {
      let file = try AtomicFile(target: scratch("f"), replacing: true)
      try file.append([3, 4])
    }
    #expect(try contents(scratch("f")) == [1])
    try AtomicFile.write([2], to: scratch("f"), replacing: true)
    #expect(try contents(scratch("f")) == [2])
    #expect(try names(in: scratch.path) == ["f"])
  }

  @Test func missingParentThatCannotBeMadeIsNamed() {
    expectRefusal("/proc/nothing") { _ = try AtomicDirectory(target: "/proc/nothing/out") }
  }

  @Suite(.enabled(if: TinyDisk.isAvailable, "\(TinyDisk.absence)"))
  struct FullDisk {
    @Test func directoryIsRemovedAndTheErrorSaysWhy() throws {
      let disk = try TinyDisk()
      let directory = try AtomicDirectory(target: disk.path + "/out")
      try directory.write([UInt8](repeating: 1, count: 100_000), to: "small")
      let error = refusal { try directory.write([UInt8](repeating: 1, count: 2_000_000), to: "large") }
      #expect(error?.path?.hasSuffix("/large") == true && (error?.offset ?? 0) > 500_000)
      #expect(
        error?.description.contains("2000000 bytes") == true && error?.description.contains("No space left") == true)
      #expect(try names(in: disk.path) == [])
    }

    @Test func fileIsRemoved() throws {
      let disk = try TinyDisk()
      try AtomicFile.write([5], to: disk.path + "/f")
      expectRefusal("No space left") {
        try AtomicFile.write([UInt8](repeating: 1, count: 2_000_000), to: disk.path + "/f", replacing: true)
      }
      #expect(try names(in: disk.path) == ["f"])
      #expect(try contents(disk.path + "/f") == [5])
    }

    @Test func safetensorsWriterLeavesNothing() throws {
      let disk = try TinyDisk()
      let writer = try SafeTensorsWriter(disk.path + "/m", tensors: [.init("a", .f32, [1000, 1000])])
      expectRefusal("No space left") {
        let row = [Float](repeating: 1, count: 1000)
        for _ in 0..<1000 { try writer.append("a", row.span) }
      }
      #expect(try names(in: disk.path) == [])
    }

    @Test func anchorWriterLeavesNothing() throws {
      let disk = try TinyDisk()
      let writer = try ContainerWriter(
        directory: disk.path + "/anchor", format: "mxint8", scaleRule: "floor", options: .init(chunkBytes: 1 << 16))
      let codes = bytes(64 * 4096, seed: 3)
      let scales = [UInt8](repeating: 120, count: 64 * 128)
      expectRefusal("No space left") {
        for start in stride(from: 0, to: 1024, by: 64) {
          try writer.addPacked(
            name: "w", shape: [1024, 4096], format: "mxint8", rows: start..<start + 64, codes: codes.span,
            scales: scales.span)
        }
      }
      #expect(try names(in: disk.path) == [])
    }
  }
}
