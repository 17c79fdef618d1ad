import Checkpoints
import Foundation
import Formats
import Glibc
import Tensors
import Testing

@Suite struct AnchorTests {
  let small = SmallAnchor()

  @Test func roundTripIsExact() throws {
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    #expect(try small.differences(scratch("anchor")) == [])
    #expect(TensorContainer.verify(scratch("anchor")) == [])
    #expect(try names(in: scratch.path) == ["anchor"])

    let anchor = try TensorContainer(scratch("anchor"))
    #expect(anchor.kind == .anchor(format: "mxint8", scaleRule: "floor") && anchor.tensors.count == small.packed.count + small.dense.count)
    #expect(anchor.manifest.files.count > 2, "the file limit makes several files")
    let split = try anchor.requireTensor("layers.0.q.weight")
    #expect(split.pieces.map(\.rowStart) == [0, 16] && split.pieces.map(\.rows) == [16, 8])
    #expect(split.pieces[0].planes[0].chunks.map(\.size) == [480, 480, 320], "whole rows of 80 in 512 bytes")
    let wide = try anchor.requireTensor("layers.0.wide.weight")
    #expect(wide.pieces[0].planes[0].chunks.allSatisfy { $0.start % 32 == 0 })
    let raw = anchor.tensors.flatMap(\.pieces).flatMap(\.planes).flatMap(\.chunks).filter(\.isRaw)
    #expect(!raw.isEmpty && raw.allSatisfy { $0.storedSize == $0.size + 16 })
    #expect(split.contentSize == 24 * 80 + 24 * 3)
    #expect(TensorContainer.isContainer(scratch("anchor")) && !TensorContainer.isContainer(scratch.path))
  }

  @Test func anyRowsCanBeRead() throws {
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    let anchor = try TensorContainer(scratch("anchor"))
    for tensor in small.packed {
      for start in 0...tensor.rows {
        for end in Set([start, start + 1, start + 7, tensor.rows]) where end >= start && end <= tensor.rows {
          var codes = [UInt8](repeating: 0xAA, count: (end - start) * tensor.columns)
          var scales = [UInt8](repeating: 0xAA, count: (end - start) * tensor.blocks)
          var codeSpan = codes.mutableSpan, scaleSpan = scales.mutableSpan
          try anchor.readPacked(tensor.name, rows: start..<end, codes: &codeSpan, scales: &scaleSpan)
          #expect(codes == Array(tensor.codes[start * tensor.columns..<end * tensor.columns]))
          #expect(scales == Array(tensor.scales[start * tensor.blocks..<end * tensor.blocks]))
        }
      }
    }
    let embed = small.dense[0]
    for start in 0..<50 {
      var values = [Float](repeating: .nan, count: 17 * (50 - start))
      var span = values.mutableSpan
      try anchor.readDense("embed.weight", rows: start..<50, into: &span)
      #expect(values == Array(embed.values[17 * start..<850]))
    }
  }

  @Test func identityDoesNotDependOnTheCut() throws {
    let scratch = try Scratch()
    try small.write(scratch("a"))
    try small.write(scratch("b"), options: .init(chunkBytes: 4 << 20, level: 5))
    let a = try TensorContainer(scratch("a")), b = try TensorContainer(scratch("b"))
    for tensor in a.tensors { #expect(try a.contentHashes(tensor.name) == b.contentHashes(tensor.name)) }
    // The same calls give the same files.
    try small.write(scratch("c"))
    for name in try names(in: scratch("a")) {
      #expect(try contents(scratch("a/" + name)) == contents(scratch("c/" + name)), "\(name)")
    }
  }

  @Test func wrongUseIsRefused() throws {
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    let anchor = try TensorContainer(scratch("anchor"))
    var values = [Float](repeating: 0, count: 80), codes = [UInt8](repeating: 0, count: 17)
    expectRefusal("that name") {
      var span = values.mutableSpan; try anchor.readDense("absent", into: &span)
    }
    expectRefusal("fp32") {
      var span = values.mutableSpan
      try anchor.readDense("layers.0.q.weight", rows: 0..<1, into: &span)
    }
    expectRefusal("block format") {
      var span = codes.mutableSpan
      try anchor.readCodes("embed.weight", rows: 0..<1, into: &span)
    }
    expectRefusal("none of that name") { _ = try anchor.sidecar("../anchor/config.json") }
    expectRefusal("manifest.json") { _ = try TensorContainer(scratch.path) }
    expectRefusal("absent or empty") { try small.write(scratch("anchor")) }
    #expect(try small.differences(scratch("anchor")) == [])
  }

  @Test func tensorsThatAreIncompleteOrTwiceAreRefused() throws {
    let scratch = try Scratch()
    let row = [Float](repeating: 1, count: 4)
    for (ranges, word) in [
      ([0..<1], "3 rows"), ([0..<1, 2..<3], "rows from 1"), ([0..<1, 1..<2, 1..<2, 2..<3], "rows from"),
    ] {
      let writer = try ContainerWriter(directory: scratch("x"), format: "mxint8", scaleRule: "floor")
      for range in ranges { try writer.addDense(name: "t", shape: [3, 4], rows: range, values: row.span) }
      expectRefusal(word) { try writer.commit() }
      #expect(try names(in: scratch.path) == [])
    }
    let writer = try ContainerWriter(directory: scratch("x"), format: "mxint8", scaleRule: "floor")
    try writer.addDense(name: "t", shape: [1, 4], values: row.span)
    expectRefusal("[1, 4]") {
      try writer.addDense(name: "t", shape: [4, 1], values: row.span); try writer.commit()
    }
  }

  @Test func rowsMayArriveInAnyOrder() throws {
    let scratch = try Scratch()
    let values = weights(12, seed: 4)
    let writer = try ContainerWriter(directory: scratch("x"), format: "mxint8", scaleRule: "floor")
    for row in [2, 0, 1] {
      try writer.addDense(
        name: "t", shape: [3, 4], rows: row..<row + 1, values: values.span.extracting(4 * row..<4 * row + 4))
    }
    try writer.commit()
    var read = [Float](repeating: 0, count: 12)
    var span = read.mutableSpan
    try TensorContainer(scratch("x")).readDense("t", into: &span)
    #expect(read == values)
  }

  @Test func whatIsSealedCanBeCheckedBeforeItAppears() throws {
    let scratch = try Scratch()
    for isDamaged in [false, true] {
      let writer = try ContainerWriter(directory: scratch("x\(isDamaged)"), format: "mxint8", scaleRule: "floor")
      try writer.addDense(name: "t", shape: [30, 40], values: weights(1200, seed: 1).span)
      try writer.seal()
      let name = writer.temporary.split(separator: "/").last! + "/data-00000-00000.zst"
      if isDamaged {
        var bytes = try contents(scratch(String(name)))
        bytes[100] ^= 1
        try scratch.write(bytes, String(name))
      }
      guard isDamaged else {
        for share in 0..<3 { try ContainerWriter.verify(writer.temporary, share: share, of: 3) }
        try writer.commit()
        continue
      }
      var hints: [String?] = []
      for share in 0..<3 {
        do { try ContainerWriter.verify(writer.temporary, share: share, of: 3) } catch { hints.append(error.hint) }
      }
      #expect(!hints.isEmpty && hints.allSatisfy { $0?.contains("storage") == true }, "\(hints)")
      writer.abandon()
    }
    #expect(try names(in: scratch.path) == ["xfalse"])
  }

  @Test func largeRawFramesSpanBlocks() throws {
    let scratch = try Scratch()
    let codes = bytes(300_001, seed: 9), scales = [UInt8](repeating: 127, count: 9376)
    let writer = try ContainerWriter(directory: scratch("x"), format: "mxint8", scaleRule: "floor")
    try writer.addPacked(
      name: "w", shape: [1, 300_001], format: "mxint8", rows: 0..<1, codes: codes.span, scales: scales.span)
    try writer.commit(verifying: true)
    let anchor = try TensorContainer(scratch("x"))
    let chunk = anchor.tensors[0].pieces[0].planes[0].chunks[0]
    #expect(chunk.isRaw && chunk.storedSize == 300_001 + 9 + 3 * 3 + 4)
    #expect(anchor.tensors[0].pieces[0].planes[1].chunks[0].storedSize < 60)
    var read = [UInt8](repeating: 0, count: codes.count)
    var span = read.mutableSpan
    try anchor.readCodes("w", rows: 0..<1, into: &span)
    #expect(read == codes)
  }

  @Test(arguments: [MXFormat.mxint8, .mxfp8_e4m3, .mxfp6_e3m2, .mxint2])
  func packedTensorsGoInAndOut(format: MXFormat) throws {
    let scratch = try Scratch()
    let arena = Arena("test")
    var tensor = PackedTensor(format, rows: 6, columns: 40, in: arena)
    for index in 0..<240 { tensor.codes[index] = UInt8(word(index) % (1 << UInt64(format.bits))) }
    for index in 0..<12 { tensor.scales[index] = 120 + UInt8(index % 3) }
    let writer = try ContainerWriter(directory: scratch("x"), format: format.name, scaleRule: "floor")
    try writer.addPacked(name: "w", shape: [12, 40], tensor)
    try writer.addPacked(name: "w", shape: [12, 40], rowStart: 6, tensor)
    try writer.commit()

    let anchor = try TensorContainer(scratch("x"))
    #expect(anchor.tensors[0].pieces.count == 1)
    var read = PackedTensor(format, rows: 4, columns: 40, in: arena)
    try anchor.readPacked("w", rowStart: 4, into: &read)
    for index in 0..<160 { #expect(read.codes[index] == tensor.codes[(index + 160) % 240]) }
    for index in 0..<8 { #expect(read.scales[index] == tensor.scales[(index + 8) % 12]) }
    var other = PackedTensor(.mxint4, rows: 4, columns: 40, in: arena)
    let error = #expect(throws: CheckpointError.self) { try anchor.readPacked("w", into: &other) }
    #expect(error?.expected == "format mxint4")
  }

  /// In a process of its own, so that the peak belongs to it: 64 MiB of codes and 256 MiB of fp32 through both writers
  /// and back, by rows.
  @Test func memoryDoesNotGrowWithTheTensor() async {
    await #expect(processExitsWith: .success) {
      func peak() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM") })
        return try #require(Int(line.filter(\.isNumber))) / 1024
      }
      let scratch = try Scratch()
      let columns = 4096, rows = 16384, step = 64
      let codes = [UInt8](repeating: 3, count: step * columns),
        scales = [UInt8](repeating: 120, count: step * columns / 32)
      let values = [Float](repeating: 0.5, count: step * columns)
      let before = try peak()
      let writer = try ContainerWriter(directory: scratch("a"), format: "mxint8", scaleRule: "floor")
      for row in stride(from: 0, to: rows, by: step) {
        try writer.addPacked(
          name: "w", shape: [rows, columns], format: "mxint8", rows: row..<row + step, codes: codes.span,
          scales: scales.span)
      }
      for row in stride(from: 0, to: rows, by: step) {
        try writer.addDense(name: "d", shape: [rows, columns], rows: row..<row + step, values: values.span)
      }
      try writer.commit(verifying: true)
      let anchor = try TensorContainer(scratch("a"))
      var read = [Float](repeating: 0, count: step * columns)
      for row in stride(from: 0, to: rows, by: step) {
        var span = read.mutableSpan
        try anchor.readDense("d", rows: row..<row + step, into: &span)
        try #require(read == values)
      }
      let safetensors = try SafeTensorsWriter(scratch("m"), tensors: [.init("d", .bf16, [rows, columns])])
      for _ in stride(from: 0, to: rows, by: step) { try safetensors.append("d", values.span) }
      try safetensors.commit()
      let grown = try peak() - before
      try? FileManager.default.removeItem(atPath: scratch.path)
      // 38 MiB where this was written: a chunk of each plane, one compressed chunk, the compressor.
      exit(grown < 64 ? 0 : 1)
    }
  }
}
