import Checkpoints
import Foundation
import Testing

/// Data files are ordinary zstd files with a seek table.
@Suite struct ZstdFileTests {
  let small = SmallAnchor()

  @Test func seekTableAgreesWithTheManifest() throws {
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    let manifest = try TensorContainer(scratch("anchor")).manifest
    let chunks = manifest.tensors.flatMap(\.pieces).flatMap(\.planes).flatMap(\.chunks)
    for (index, file) in manifest.files.enumerated() {
      let table = try SeekTable(path: scratch("anchor/" + file.name))
      let expected = chunks.filter { $0.file == index }.sorted { $0.offset < $1.offset }
      #expect(table.entries.map { Int($0.storedSize) } == expected.map(\.storedSize))
      #expect(table.entries.map { Int($0.contentSize) } == expected.map(\.size))
      let bytes = try contents(scratch("anchor/" + file.name))
      #expect(Array(bytes.suffix(table.bytes.count)) == table.bytes)
      // The checksum a frame ends with is the table's.
      for (entry, chunk) in zip(table.entries, expected) {
        let end = chunk.offset + chunk.storedSize
        #expect((0..<4).reduce(0 as UInt32) { $0 | UInt32(bytes[end - 4 + $1]) << UInt32(8 * $1) } == entry.checksum)
      }
    }
  }

  @Test func layoutOfTheTableIsTheSeekableFormat() {
    let table = SeekTable([.init(storedSize: 0x0102, contentSize: 0x0304, checksum: 0xAABB_CCDD)])
    #expect(
      table.bytes == [
        0x5E, 0x2A, 0x4D, 0x18, 21, 0, 0, 0, 2, 1, 0, 0, 4, 3, 0, 0, 0xDD, 0xCC, 0xBB, 0xAA, 1, 0, 0, 0, 0x80, 0xB1,
        0xEA, 0x92,
        0x8F,
      ])
  }

  @Test func brokenTablesAreRefused() throws {
    let scratch = try Scratch()
    let good =
      [UInt8](repeating: 7, count: 100) + SeekTable([.init(storedSize: 100, contentSize: 9, checksum: 1)]).bytes
    #expect(try SeekTable(path: scratch.write(good, "t")).entries.count == 1)
    for (offset, value): (Int, UInt8) in [
      (100, 0), (104, 9), (108, 99), (120, 2), (123, 0xFF), (124, 0), (125, 0), (128, 0),
    ] {
      var bad = good
      bad[offset] = value
      _ = refusal { _ = try SeekTable(path: scratch.write(bad, "t")) }
    }
    for count in [0, 8, 16, 100, 128] {
      _ = refusal { _ = try SeekTable(path: scratch.write(Array(good.prefix(count)), "t")) }
    }
  }

  static let tool: String? = ["/usr/bin/zstd", "/usr/local/bin/zstd"].first {
    FileManager.default.isExecutableFile(atPath: $0)
  }

  @Test(.enabled(if: tool != nil, "the zstd command is not installed"))
  func theZstdCommandReadsEverything() throws {
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    let manifest = try TensorContainer(scratch("anchor")).manifest
    for (index, file) in manifest.files.enumerated() {
      #expect(try run(["-t", "-q", scratch("anchor/" + file.name)]) == 0)
      let out = scratch("out-\(index)")
      #expect(try run(["-d", "-q", scratch("anchor/" + file.name), "-o", out]) == 0)
      #expect(try contents(out) == expectedContent(manifest, index))

      // A frame cut out by its offset decodes alone.
      let chunk = manifest.tensors.flatMap(\.pieces).flatMap(\.planes).flatMap(\.chunks).last { $0.file == index }!
      let bytes = try contents(scratch("anchor/" + file.name))
      let cut = try scratch.write(Array(bytes[chunk.offset..<chunk.offset + chunk.storedSize]), "frame-\(index).zst")
      #expect(try run(["-d", "-q", cut, "-o", scratch("frame-\(index)")]) == 0)
      #expect(ContentHash(try contents(scratch("frame-\(index)"))) == chunk.hash)
    }
  }

  /// The planes' bytes in file order, from the values that were written.
  private func expectedContent(_ manifest: ContainerManifest, _ file: Int) -> [UInt8] {
    var runs: [(offset: Int, bytes: ArraySlice<UInt8>)] = []
    for tensor in manifest.tensors {
      for piece in tensor.pieces {
        for plane in piece.planes {
          let whole: [UInt8], rowBytes: Int
          if let packed = small.packed.first(where: { $0.name == tensor.name }) {
            whole = plane.kind == .codes ? packed.codes : packed.scales
            rowBytes = plane.kind == .codes ? packed.columns : packed.blocks
          } else {
            let shift = UInt32(plane.kind.rawValue.suffix(1))! * 8
            whole = small.dense.first { $0.name == tensor.name }!.values.map {
              UInt8(truncatingIfNeeded: $0.bitPattern >> shift)
            }
            rowBytes = tensor.shape.columns
          }
          for chunk in plane.chunks where chunk.file == file {
            let start = piece.rowStart * rowBytes + chunk.start
            runs.append((chunk.offset, whole[start..<start + chunk.size]))
          }
        }
      }
    }
    return runs.sorted { $0.offset < $1.offset }.flatMap(\.bytes)
  }

  private func run(_ arguments: [String]) throws -> Int32 {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: Self.tool!)
    process.arguments = arguments
    try process.run()
    process.waitUntilExit()
    return process.terminationStatus
  }
}
