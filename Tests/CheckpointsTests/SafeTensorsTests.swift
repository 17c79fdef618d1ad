import Checkpoints
import Foundation
import Testing

/// A safetensors file from its parts.
private func file(_ header: String, _ data: [UInt8], length: UInt64? = nil) -> [UInt8] {
  let length = length ?? UInt64(header.utf8.count)
  return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) } + Array(header.utf8) + data
}

@Suite struct SafeTensorsTests {
  private func open(_ bytes: [UInt8]) throws -> SafeTensorsFile {
    let scratch = try Scratch()
    return try SafeTensorsFile(try scratch.write(bytes, "model.safetensors"))
  }

  @Test func readsThreeTypesExactly() throws {
    let header = #"""
      {"__metadata__":{"format":"pt"},
       "f":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},
       "b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},
       "h":{"dtype":"F16","shape":[],"data_offsets":[22,24]},
       "i":{"dtype":"I64","shape":[1],"data_offsets":[24,32]},
       "empty":{"dtype":"F32","shape":[0,4],"data_offsets":[32,32]}}   
      """#
    let floats: [Float] = [1.5, -0.0, .infinity, 0x1p-140]
    var data: [UInt8] = []
    for value in floats {
      for byte in 0..<4 { data.append(UInt8(truncatingIfNeeded: value.bitPattern >> (8 * UInt32(byte)))) }
    }
    data += [0x80, 0x3F, 0x00, 0xC0, 0x01, 0x00] + [0x01, 0x80] + [1, 0, 0, 0, 0, 0, 0, 0]
    let file = try open(file(header, data))
    #expect(file.entries.map(\.name) == ["f", "b", "h", "i", "empty"])
    #expect(file.metadata == ["format": "pt"])
    #expect(try file.read("f").map(\.bitPattern) == floats.map(\.bitPattern))
    #expect(try file.read("b") == [1, -2, Float(bitPattern: 0x10000)])
    #expect(try file.read("h") == [-0x1p-24])
    #expect(try file.read("empty") == [])
    #expect(try file.readBytes("i") == [1, 0, 0, 0, 0, 0, 0, 0])
    var row = [Float](repeating: 0, count: 2)
    var span = row.mutableSpan
    try file.read("f", rows: 1..<2, into: &span)
    #expect(row == [.infinity, 0x1p-140])
    expectRefusal("I64") { _ = try file.read("i") }
    expectRefusal("a tensor of that name") { _ = try file.read("absent") }
  }

  @Test func everyHalfConvertsAsTheHardwareDoes() throws {
    let data = (0..<65536).flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }
    let header = #"{"h":{"dtype":"F16","shape":[256,256],"data_offsets":[0,131072]}}"#
    for (bits, value) in try open(file(header, data)).read("h").enumerated() {
      let expected = Float(Float16(bitPattern: UInt16(bits)))
      #expect(value.bitPattern == expected.bitPattern || (value.isNaN && expected.isNaN), "\(bits)")
    }
  }

  @Test func lengthsAreChecked() throws {
    let good = file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, [0, 0, 0, 0])
    _ = try open(good)
    for count in 0..<good.count { _ = refusal { _ = try open(Array(good.prefix(count))) } }
    _ = refusal { _ = try open(good + [0]) }
    expectRefusal("100000000") { _ = try open(file("{}", [], length: 100_000_001)) }
    expectRefusal("at most") { _ = try open(file("{}", [], length: .max)) }
    expectRefusal("'{'") { _ = try open(file(" {}", [])) }
    expectRefusal("'{'") { _ = try open(file("", [])) }
    expectRefusal("No such file") { _ = try SafeTensorsFile("/nonexistent/model.safetensors") }
    expectRefusal("regular file") { _ = try SafeTensorsFile("/tmp") }
  }

  @Test(arguments: [
    (
      #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
      "once"
    ),
    (
      #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}"#,
      "hole"
    ),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, "hole"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, "8"),
    (
      #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
      "overlap"
    ),
    (
      #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
      "overlap"
    ),
    (#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}"#, "within 8"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}"#, "take 4 bytes"),
    (#"{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}"#, "F33"),
    (#"{"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}}"#, "dtype"),
    (#"{"a":{"dtype":"F32","data_offsets":[0,8]}}"#, "shape"),
    (#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, "shape"),
    (#"{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}"#, "shape"),
    (#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#, "shape"),
    (#"{"a":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807],"data_offsets":[0,8]}}"#, "shape"),
    (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, "data_offsets"),
    (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#, "data_offsets"),
    (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775807]}}"#, "within"),
    (#"{"a":{"dtype":"F4","shape":[17],"data_offsets":[0,8]}}"#, "take"),
    (#"{"a":[]}"#, "dtype"), (#"{"__metadata__":{"n":1}}"#, "strings"), (#"{"__metadata__":[]}"#, "object"),
    ("{}", "8"),
  ])
  func inconsistentHeadersAreRefused(header: String, word: String) {
    expectRefusal(word) { _ = try open(file(header, [UInt8](repeating: 0, count: 8))) }
  }

  @Test func writerRoundTripsInAnyOrderAndRows() throws {
    let scratch = try Scratch()
    let path = scratch("out.safetensors")
    let a = weights(5 * 7, seed: 1), b = weights(600_000, seed: 2)
    let writer = try SafeTensorsWriter(
      path,
      tensors: [
        .init("small.u8", .u8, [3]), .init("b", .bf16, [1000, 600]), .init("a", .f32, [5, 7]), .init("h", .f16, [7]),
        .init("none", .f32, [0]),
      ])
    #expect(writer.dataSize == 3 + 1_200_000 + 140 + 14)
    try writer.append("b", b.span.extracting(0..<12_000))
    try writer.append("a", a.span.extracting(0..<7))
    try writer.append("small.u8", bytes: [1, 2, 3].span)
    try writer.append("a", a.span.extracting(7..<35))
    try writer.append("b", b.span.extracting(12_000..<600_000))
    let h: [Float] = [0, -1, 65504, 65520, 1e-8, 0x1p-24, .infinity]
    try writer.append("h", h.span)
    #expect(try names(in: scratch.path).allSatisfy { $0.contains(".tmp-") })
    try writer.commit()
    #expect(try names(in: scratch.path) == ["out.safetensors"])

    let file = try SafeTensorsFile(path)
    #expect(file.entries.map(\.name) == ["a", "none", "b", "h", "small.u8"])
    #expect(file.entries[0].bytes.lowerBound % 8 == 0)
    #expect(file.metadata == ["format": "pt"])
    #expect(try file.read("a") == a)
    #expect(try file.readBytes("small.u8") == [1, 2, 3])
    #expect(try file.read("h") == h.map { Float(Float16($0)) })
    for (value, source) in zip(try file.read("b"), b) { #expect(abs(value - source) <= abs(source) * 0x1p-8) }
    expectRefusal("absent file") { _ = try SafeTensorsWriter(path, tensors: []) }
    try SafeTensorsWriter(path, tensors: [], replacing: true).commit()
    #expect(try SafeTensorsFile(path).entries.isEmpty)
  }

  @Test func bfloat16RoundsToNearestEven() throws {
    let scratch = try Scratch()
    let patterns: [UInt32] = [
      0x3F80_8000, 0x3F81_8000, 0x3F80_8001, 0x3F80_7FFF, 0x7F7F_FFFF, 0x7F80_0001, 0x8000_8000, 0x0000_8001,
    ]
    let values = patterns.map { Float(bitPattern: $0) }
    let writer = try SafeTensorsWriter(scratch("x"), tensors: [.init("x", .bf16, [8])])
    try writer.append("x", values.span)
    try writer.commit()
    let halves = try SafeTensorsFile(scratch("x")).readBytes("x")
    let bits = (0..<8).map { UInt16(halves[2 * $0]) | UInt16(halves[2 * $0 + 1]) << 8 }
    #expect(bits == [0x3F80, 0x3F82, 0x3F81, 0x3F80, 0x7F80, 0x7FC0, 0x8000, 0x0001])
  }
}

@Suite struct ModelFolderTests {
  private func shard(_ scratch: Scratch, _ name: String, _ tensors: [String]) throws {
    let writer = try SafeTensorsWriter(
      scratch(name), tensors: tensors.map { .init($0, .f32, [2]) }, metadata: ["from": name])
    for tensor in tensors { try writer.append(tensor, [Float(tensor.utf8.first!), 0].span) }
    try writer.commit()
  }

  private func index(_ scratch: Scratch, _ map: [(tensor: String, file: String)]) throws {
    try scratch.write(SafeTensorsWriter.index(totalSize: 8, shards: map), ModelFolderTensors.indexFile)
  }

  @Test func shardsAreFound() throws {
    let scratch = try Scratch()
    try shard(scratch, "s1", ["a", "b"])
    try shard(scratch, "s2", ["c"])
    try index(scratch, [("a", "s1"), ("c", "s2"), ("b", "s1")])
    let folder = try ModelFolderTensors(scratch.path)
    #expect(folder.names == ["a", "b", "c"])
    #expect(try folder.read("c") == [99, 0])
    #expect(folder.metadata == ["from": "s1"] && folder.files.count == 2)
    #expect(folder.entry("b")?.shape.dimensions == [2] && folder.entry("z") == nil)
    expectRefusal("that name") { _ = try folder.read("z") }

    try shard(scratch, "model.safetensors", ["x"])
    #expect(try ModelFolderTensors(scratch.path).names == ["x"])
  }

  @Test func inconsistentFoldersAreRefused() throws {
    let scratch = try Scratch()
    expectRefusal("neither") { _ = try ModelFolderTensors(scratch.path) }
    try scratch.write([], "pytorch_model.bin")
    expectRefusal("convert") { _ = try ModelFolderTensors(scratch.path) }
    try shard(scratch, "s1", ["a", "b"])
    try shard(scratch, "s2", ["b"])
    for (map, word): ([(tensor: String, file: String)], String) in [
      ([("a", "s1"), ("b", "s3")], "no such file"), ([("a", "s1"), ("b", "s2")], "in s1 and s2"),
      ([("a", "s1"), ("b", "s1"), ("c", "s1")], "in no shard"), ([("a", "s1")], "no mention"),
      ([("a", "../s1")], "same folder"), ([("a", "/s1")], "same folder"), ([("a", "..")], "same folder"),
    ] {
      try index(scratch, map)
      expectRefusal(word) { _ = try ModelFolderTensors(scratch.path) }
    }
    try shard(scratch, "s4", ["c"])
    try index(scratch, [("a", "s1"), ("b", "s1"), ("c", "s1")] + [("d", "s4")])
    expectRefusal("found it in s4") { _ = try ModelFolderTensors(scratch.path) }
    try scratch.write(Array("{}".utf8), ModelFolderTensors.indexFile)
    expectRefusal("weight_map") { _ = try ModelFolderTensors(scratch.path) }
  }
}
