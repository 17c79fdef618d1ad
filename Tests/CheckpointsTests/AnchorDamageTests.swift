import Checkpoints
import Foundation
import Testing

/// Whatever happens to a file of an anchor, no reader gets other values without being told.
@Suite struct AnchorDamageTests {
  let small = SmallAnchor()

  /// Damage must be found by `verify`; reading must be refused or unharmed.
  private func expectRefused(_ directory: String, _ what: String) {
    #expect(!TensorContainer.verify(directory).isEmpty, "\(what) passed verification")
    if let differences = try? small.differences(directory) {
      #expect(differences.isEmpty, "\(what) changed \(differences) silently")
    }
  }

  @Test func singleBitFlipsAreAllFound() throws {
    let scratch = try Scratch()
    let directory = scratch("anchor")
    try small.write(directory)
    var flips = 0
    for name in try names(in: directory) {
      let original = try contents(directory + "/" + name)
      guard !original.isEmpty else { continue }
      for index in 0..<120 {
        let bit = Int(word(index, seed: UInt64(name.utf8.count + original.count)) % UInt64(8 * original.count))
        var damaged = original
        damaged[bit / 8] ^= 1 << UInt8(bit % 8)
        try scratch.write(damaged, "anchor/" + name)
        expectRefused(directory, "bit \(bit) of \(name)")
        flips += 1
      }
      try scratch.write(original, "anchor/" + name)
    }
    #expect(flips >= 600)
    #expect(TensorContainer.verify(directory).isEmpty)
  }

  @Test func truncatedAndLengthenedFilesAreFound() throws {
    let scratch = try Scratch()
    let directory = scratch("anchor")
    try small.write(directory)
    for name in try names(in: directory) {
      let original = try contents(directory + "/" + name)
      for size in Set([0, 1, original.count / 2, original.count - 1]) where size >= 0 && size < original.count {
        try scratch.write(Array(original.prefix(size)), "anchor/" + name)
        expectRefused(directory, "\(name) cut to \(size)")
      }
      try scratch.write(original + [0], "anchor/" + name)
      expectRefused(directory, "\(name) with a byte more")
      try scratch.write(original, "anchor/" + name)
    }
    #expect(TensorContainer.verify(directory).isEmpty)
  }

  @Test func missingExtraAndSwappedFilesAreFound() throws {
    let scratch = try Scratch()
    let directory = scratch("anchor")
    try small.write(directory)
    let files = try names(in: directory)
    for name in files {
      let original = try contents(directory + "/" + name)
      try FileManager.default.removeItem(atPath: directory + "/" + name)
      let problems = TensorContainer.verify(directory)
      #expect(problems.contains { $0.description.contains(name) }, "\(name): \(problems)")
      try scratch.write(original, "anchor/" + name)
    }
    try scratch.write([1], "anchor/extra")
    #expect(TensorContainer.verify(directory).map(\.description) == ["file extra: is not in the manifest"])
    try FileManager.default.removeItem(atPath: directory + "/extra")
    let data = files.filter { $0.hasSuffix(".zst") }
    for (a, b) in zip(data, data.dropFirst()) {
      let first = try contents(directory + "/" + a), second = try contents(directory + "/" + b)
      try scratch.write(second, "anchor/" + a)
      try scratch.write(first, "anchor/" + b)
      expectRefused(directory, "\(a) and \(b) swapped")
      try scratch.write(first, "anchor/" + a)
      try scratch.write(second, "anchor/" + b)
    }
    #expect(TensorContainer.verify(directory).isEmpty)
  }

  @Test func problemsNameTensorPlaneFileAndBytes() throws {
    let scratch = try Scratch()
    let directory = scratch("anchor")
    try small.write(directory)
    let manifest = try TensorContainer(directory).manifest
    let tensor = manifest.tensors.first { $0.name == "embed.weight" }!
    let chunk = tensor.pieces[0].planes[3].chunks[0]
    let name = manifest.files[chunk.file].name
    var damaged = try contents(directory + "/" + name)
    damaged[chunk.offset + chunk.storedSize - 1] ^= 0x80
    try scratch.write(damaged, "anchor/" + name)
    let problems = TensorContainer.verify(directory)
    #expect(problems.count == 2)
    #expect(problems[0].file == name && problems[0].message.contains("file hash"))
    #expect(problems[1].tensor == "embed.weight" && problems[1].plane == .byte3 && problems[1].file == name)
    #expect(problems[1].range == chunk.offset..<chunk.offset + chunk.storedSize)
    expectRefusal("embed.weight") { _ = try small.differences(directory) }
  }

  /// A frame that is a valid frame of other content: only the content hash can tell.
  @Test func validFramesOfOtherContentAreRefused() throws {
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    let anchor = try TensorContainer(scratch("anchor"))
    let chunks = anchor.tensors.flatMap(\.pieces).flatMap(\.planes).flatMap(\.chunks)
    let pairs = chunks.filter { a in
      a.isRaw && chunks.contains { $0.isRaw && $0.size == a.size && $0.hash != a.hash && $0.file == a.file }
    }
    let a = try #require(pairs.first)
    let b = try #require(pairs.first { $0.size == a.size && $0.hash != a.hash && $0.file == a.file })
    let name = anchor.manifest.files[a.file].name
    let original = try contents(scratch("anchor/" + name))
    var swapped = original
    swapped.replaceSubrange(a.offset..<a.offset + a.storedSize, with: original[b.offset..<b.offset + b.storedSize])
    try scratch.write(swapped, "anchor/" + name)
    expectRefusal("content hash") { _ = try small.differences(scratch("anchor")) }
  }

  @Test func progressReachesTheTotal() throws {
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    var last = 0, total = 0
    let problems = TensorContainer.verify(scratch("anchor")) { done, all in
      #expect(done >= last && done <= all)
      (last, total) = (done, all)
    }
    #expect(problems.isEmpty && last == total && total > 0)
  }
}

/// Manifests whose hash is right and whose content is not.
@Suite struct HostileManifestTests {
  let small = SmallAnchor()

  /// Replaces the member at `path` of the manifest and gives it a matching hash.
  private func rewrite(_ directory: String, _ path: [Step], _ value: JSONValue?) throws {
    let file = directory + "/" + ContainerManifest.fileName
    var object = try JSONScanner.parse(try contents(file)).object!
    object["hash"] = nil
    let changed = Self.replaced(.object(object), path[...], value)
    object = changed.object!
    object["hash"] = .string(ContentHash(changed.serialized()).description)
    try Data(JSONValue.object(object).serialized()).write(to: URL(fileURLWithPath: file))
  }

  enum Step: Sendable { case key(String), at(Int) }

  private static func replaced(_ value: JSONValue, _ path: ArraySlice<Step>, _ new: JSONValue?) -> JSONValue {
    guard let step = path.first else { return new ?? .null }
    switch step {
    case .key(let key):
      var object = value.object!
      object[key] = path.count == 1 ? new : replaced(object[key]!, path.dropFirst(), new)
      return .object(object)
    case .at(let index):
      var array = value.array!
      array[index] = replaced(array[index], path.dropFirst(), new)
      return .array(array)
    }
  }

  private static let tensor: [Step] = [.key("tensors"), .at(0)]
  private static let piece: [Step] = tensor + [.key("pieces"), .at(0)]
  private static let plane: [Step] = piece + [.key("planes"), .at(0)]
  private static let chunk: [Step] = plane + [.key("chunks"), .at(0)]
  private static let huge = JSONValue.string("4611686018427387904")

  static let attacks: [([Step], JSONValue?, String)] = [
    ([.key("container_version")], 2, "version"), ([.key("block"), .key("size")], 16, "block.size"),
    ([.key("scale_format")], "fp8", "scale_format"), ([.key("format")], "MX INT8", "format name"),
    ([.key("metadata")], [], "metadata"), ([.key("files")], nil, "files"), ([.key("tensors")], 7, "tensors"),
    ([.key("files"), .at(0), .key("name")], "../outside.zst", "inside the directory"),
    ([.key("files"), .at(0), .key("name")], "/etc/passwd", "inside the directory"),
    ([.key("files"), .at(0), .key("name")], "..", "inside the directory"),
    ([.key("files"), .at(0), .key("name")], "", "inside the directory"),
    ([.key("files"), .at(0), .key("name")], "a\u{0}b", "inside the directory"),
    ([.key("files"), .at(0), .key("name")], "config.json", "twice"),
    ([.key("files"), .at(0), .key("name")], "manifest.json", "twice"),
    ([.key("files"), .at(0), .key("size")], 10, "within"),
    ([.key("files"), .at(0), .key("size")], huge, "bytes"),
    ([.key("files"), .at(0), .key("hash")], "xyz", "hexadecimal"),
    ([.key("sidecars"), .at(0), .key("name")], "../config.json", "inside the directory"),
    ([.key("sidecars"), .at(0), .key("size")], 3, "3 bytes"),
    (tensor + [.key("name")], "", "name"), (tensor + [.key("name")], "embed.weight", "once"),
    (tensor + [.key("format")], "fp32", "planes"), (tensor + [.key("format")], "../x", "format name"),
    (tensor + [.key("shape")], [-1, 80], "count"), (tensor + [.key("shape")], [24, huge], "shape"),
    (tensor + [.key("shape")], [.integer(1 << 40), .integer(1 << 40)], "shape"),
    (tensor + [.key("shape")], [24, 81], "plane"), (tensor + [.key("shape")], [25, 80], "rows"),
    (tensor + [.key("shape")], [8, 80], "rows"), (tensor + [.key("shape")], [1, 1, 1, 1, 1, 1, 1, 24, 80], "shape"),
    (piece + [.key("row_start")], 1, "rows"), (piece + [.key("rows")], 17, "plane"),
    (piece + [.key("rows")], huge, "rows"),
    (piece + [.key("rows")], 0, "rows"), (piece + [.key("planes")], [], "planes"),
    (plane + [.key("plane")], "scales", "planes"), (plane + [.key("plane")], "bits", "one of"),
    (plane + [.key("size")], huge, "plane"), (plane + [.key("chunks")], [], "chunks"),
    (chunk + [.key("file")], 99, "file index"), (chunk + [.key("offset")], huge, "within"),
    (chunk + [.key("offset")], 1, "hole"), (chunk + [.key("stored")], huge, "within"),
    (chunk + [.key("stored")], 0, "within"),
    (chunk + [.key("stored")], -1, "count"), (chunk + [.key("size")], huge, "chunk"),
    (chunk + [.key("size")], 0, "chunk"),
    (chunk + [.key("start")], 80, "chunk"), (chunk + [.key("raw")], 1, "raw"),
    (chunk + [.key("hash")], "00000000000000000000000000000000", "content hash"),
    (chunk + [.key("offset")], 1.5, "count"),
  ]

  @Test(arguments: 0..<attacks.count)
  func everyFieldIsChecked(index: Int) throws {
    let (path, value, word) = Self.attacks[index]
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    try rewrite(scratch("anchor"), path, value)
    expectRefusal(word) { _ = try small.differences(scratch("anchor")) }
    #expect(!TensorContainer.verify(scratch("anchor")).isEmpty)
  }

  @Test func overlappingChunksAreRefused() throws {
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    let first = try TensorContainer(scratch("anchor")).tensors[0].pieces[0].planes[0].chunks[0]
    try rewrite(scratch("anchor"), Self.plane + [.key("chunks"), .at(1), .key("offset")], .integer(first.offset))
    expectRefusal("overlap") { _ = try TensorContainer(scratch("anchor")) }
  }

  @Test func metadataIsFree() throws {
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    try rewrite(scratch("anchor"), [.key("metadata"), .key("more")], ["x": [1, 2.5, nil]])
    #expect(TensorContainer.verify(scratch("anchor")).isEmpty)
    #expect(try TensorContainer(scratch("anchor")).metadata["more"]?["x"] == [1, 2.5, nil])
  }

  @Test func otherFormsOfTheSameManifestAreRefused() throws {
    let scratch = try Scratch()
    try small.write(scratch("anchor"))
    let value = try JSONScanner.parse(try contents(scratch("anchor/manifest.json")))
    try scratch.write(value.serialized(indent: 1), "anchor/manifest.json")
    expectRefusal("canonical") { _ = try TensorContainer(scratch("anchor")) }
  }
}
