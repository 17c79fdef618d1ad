import Checkpoints
import Foundation
import TestSupport
import Testing

/// Files that claim more than they hold, or lead elsewhere. Each is refused, and nothing large is allocated on the way:
/// a claim costs its writer a few digits.
@Suite struct HostileFilesTests {
  private static let limit = 8 << 20

  /// `body` is refused with `word` in the reason, and asks for less than 8 MiB at once.
  private func expectSmallRefusal(
    _ word: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
  ) {
    let largest = AllocationCounter.largest { expectRefusal(word, sourceLocation: sourceLocation, body) }
    #expect(largest < Self.limit, "\(largest) bytes at once", sourceLocation: sourceLocation)
  }

  private func safetensors(_ header: String, length: UInt64? = nil, data: Int = 8) -> [UInt8] {
    let length = length ?? UInt64(header.utf8.count)
    return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) } + Array(header.utf8)
      + [UInt8](repeating: 0, count: data)
  }

  @Test(arguments: [
    (#"{"a":{"dtype":"F32","shape":[281474976710656],"data_offsets":[0,1125899906842624]}}"#, "within"),
    (#"{"a":{"dtype":"F64","shape":[281474976710656,1],"data_offsets":[0,8]}}"#, "take"),
    (#"{"a":{"dtype":"F32","shape":[281474976710657],"data_offsets":[0,8]}}"#, "shape"),
    (#"{"a":{"dtype":"F32","shape":[16777216,16777216,16777216],"data_offsets":[0,8]}}"#, "shape"),
    (#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}"#, "shape"),
    (#"{"a":{"dtype":"F32","shape":[1e1],"data_offsets":[0,8]}}"#, "shape"),
    (#"{"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}}"#, "shape"),
    (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}"#, "data_offsets"),
    (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":["0","8"]}}"#, "data_offsets"),
    (
      #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
      "overlap"
    ),
  ])
  func safetensorsThatClaimTooMuch(_ header: String, _ word: String) throws {
    let scratch = try Scratch()
    let path = try scratch.write(safetensors(header), "model.safetensors")
    expectSmallRefusal(word) { _ = try SafeTensorsFile(path) }
  }

  @Test func safetensorsHeadersAreBounded() throws {
    let scratch = try Scratch()
    for (bytes, word) in [
      (safetensors("{}", length: 100_000_000), "a file of"), (safetensors("{}", length: 1 << 63), "at most"),
      (safetensors(String(repeating: #"{"a":"#, count: 1_000_000)), "nested"),
      (safetensors(#"{"a":"# + String(repeating: "[", count: 1_000_000)), "nested"),
    ] {
      let path = try scratch.write(bytes, "model.safetensors")
      expectSmallRefusal(word) { _ = try SafeTensorsFile(path) }
    }
  }

  /// A sparse file is larger than any disk and costs nothing.
  @Test func sparseFilesAreRefusedBySize() throws {
    let scratch = try Scratch()
    let path = try scratch.write(Array(#"{"weight_map":{}}"#.utf8), ModelFolderTensors.indexFile)
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    try file.truncate(atOffset: 1 << 40)
    try file.close()
    expectSmallRefusal("at most") { _ = try ModelFolderTensors(scratch.path) }
  }

  @Test(arguments: [
    "../s1", "/etc/passwd", "..", ".", "", "a/../s1", "s1/", "./s1", "a\\u0000b", "a\\nb",
    String(repeating: "a", count: 256),
  ])
  func indicesLeadNowhereElse(_ name: String) throws {
    let scratch = try Scratch()
    try scratch.write(Array(#"{"weight_map":{"a":"\#(name)"}}"#.utf8), ModelFolderTensors.indexFile)
    expectSmallRefusal("same folder") { _ = try ModelFolderTensors(scratch.path) }
  }

  @Test(arguments: [
    (#"{"weight_map":[]}"#, "weight_map"), (#"{"weight_map":{"a":1}}"#, "same folder"), (#"[]"#, "weight_map"),
    (#"{"weight_map":{"a":{"a":{}}}}"#, "same folder"), (#"{"weight_map":{"a":"s1","a":"s1"}}"#, "once"),
    (#"{"weight_map":{"a":"absent"}}"#, "no such file"),
    (String(repeating: #"{"weight_map":"#, count: 100_000), "nested"),
  ])
  func indicesOfOtherShapes(_ text: String, _ word: String) throws {
    let scratch = try Scratch()
    try scratch.write(Array(text.utf8), ModelFolderTensors.indexFile)
    expectSmallRefusal(word) { _ = try ModelFolderTensors(scratch.path) }
  }
}

/// Directories whose files are each whole and do not belong together.
@Suite struct MixedContainerTests {
  let small = SmallAnchor()

  private func write(_ directory: String, step: Int) throws {
    let metadata: JSONValue = ["step": .integer(step)]
    let writer = try ContainerWriter(directory: directory, kind: .checkpoint, metadata: metadata.object!)
    for rank in 0..<2 {
      let values = weights(64, seed: UInt64(100 * step + rank))
      if rank == 0 {
        try writer.addDense(name: "w", shape: [4, 32], rows: 0..<2, values: values.span)
      } else {
        let part = ContainerPartWriter(directory: writer.temporary, writer: rank)
        try part.addDense(name: "w", shape: [4, 32], rows: 2..<4, values: values.span)
        writer.add(try part.finish())
      }
    }
    try writer.commit(verifying: true)
  }

  /// Steps have files of equal names, and here of equal sizes: only hashes tell them apart.
  @Test func manifestOfAnotherStep() throws {
    let scratch = try Scratch()
    try write(scratch("one"), step: 1)
    try write(scratch("two"), step: 2)
    let manifest = try contents(scratch("two/" + ContainerManifest.fileName))
    try scratch.write(manifest, "one/" + ContainerManifest.fileName)
    #expect(!TensorContainer.verify(scratch("one")).isEmpty)
    _ = refusal {
      let container = try TensorContainer(scratch("one"))
      var values = [Float](repeating: 0, count: 128)
      var span = values.mutableSpan
      try container.readDense("w", into: &span)
    }
  }

  @Test func filesOfTwoWritersSwapped() throws {
    let scratch = try Scratch()
    try write(scratch("one"), step: 1)
    let files = try names(in: scratch("one")).filter { $0.hasSuffix(".zst") }
    try #require(files.count == 2)
    let bytes = try files.map { try contents(scratch("one/" + $0)) }
    for (file, bytes) in zip(files, bytes.reversed()) { try scratch.write(bytes, "one/" + file) }
    #expect(!TensorContainer.verify(scratch("one")).isEmpty)
    _ = refusal {
      let container = try TensorContainer(scratch("one"))
      var values = [Float](repeating: 0, count: 128)
      var span = values.mutableSpan
      try container.readDense("w", into: &span)
    }
  }

  /// Everything the manifest may claim in vain, with the hash made right, costs little memory.
  @Test func claimsCostNoMemory() throws {
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    let path = scratch("anchor/" + ContainerManifest.fileName)
    let original = try JSONScanner.parse(try contents(path)).object!
    let huge = JSONValue.string("4611686018427387904")
    for (member, value) in [
      ("sidecars", ["name", "config.json"] as [String]), ("files", ["name", "data-00000-00000.zst"]),
    ] {
      var object = original
      object["hash"] = nil
      let entries = object[member]!.array!.map { entry -> JSONValue in
        var entry = entry.object!
        if entry[value[0]] == .string(value[1]) { entry["size"] = huge }
        return .object(entry)
      }
      object[member] = .array(entries)
      object["hash"] = .string(ContentHash(JSONValue.object(object).serialized()).description)
      try scratch.write(JSONValue.object(object).serialized(), "anchor/" + ContainerManifest.fileName)
      let largest = AllocationCounter.largest { expectRefusal("bytes") { _ = try TensorContainer(scratch("anchor")) } }
      #expect(largest < 8 << 20, "\(member): \(largest) bytes at once")
    }
    let deep = String(repeating: #"{"a":"#, count: 500_000)
    try scratch.write(Array(deep.utf8), "anchor/" + ContainerManifest.fileName)
    let largest = AllocationCounter.largest { expectRefusal("nested") { _ = try TensorContainer(scratch("anchor")) } }
    #expect(largest < 8 << 20, "\(largest) bytes at once")
  }
}
