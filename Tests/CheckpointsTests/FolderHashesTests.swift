import Checkpoints
import Foundation
import Testing

/// A model folder with hashes: whatever happens to it, no tensor is read with other bits than were written.
@Suite struct FolderHashesTests {
  static let tensors: [(name: String, type: SafeTensorsType, shape: [Int])] = [
    ("b.weight", .f32, [40, 33]), ("a.weight", .f32, [7]), ("half", .bf16, [64, 5]), ("none", .f32, [0, 4]),
  ]
  static let configuration = Array(#"{"model_type":"llama"}"#.utf8)

  let scratch: Scratch
  var folder: String { scratch.path }
  var hashes: String { scratch(FolderHashes.fileName) }

  init() throws {
    scratch = try Scratch()
    let writer = try SafeTensorsWriter(
      scratch("model.safetensors"), tensors: Self.tensors.map { .init($0.name, $0.type, $0.shape) })
    // In turns: rows of one, then of the other.
    for (index, tensor) in Self.tensors.enumerated().reversed() {
      let values = weights(tensor.shape.reduce(1, *), seed: UInt64(index)), middle = values.count / 3
      try writer.append(tensor.name, values.span.extracting(0..<middle))
      if index > 0 { continue }
      for (index, tensor) in Self.tensors.enumerated() {
        let values = weights(tensor.shape.reduce(1, *), seed: UInt64(index)), middle = values.count / 3
        try writer.append(tensor.name, values.span.extracting(middle..<values.count))
      }
    }
    var hashes = FolderHashes()
    try hashes.add(writer)
    try writer.commit()
    try scratch.write(Self.configuration, "config.json")
    hashes.add(file: "config.json", bytes: Self.configuration)
    try scratch.write(hashes.serialized, FolderHashes.fileName)
  }

  private func readAll() throws -> [[Float]] {
    let folder = try ModelFolderTensors(folder)
    return try Self.tensors.map { try folder.read($0.name) }
  }

  @Test func hashesAreThoseOfTheBytes() throws {
    let stored = try FolderHashes(folder: folder), file = try contents(scratch("model.safetensors"))
    #expect(try stored.serialized == contents(hashes))
    #expect(stored.files.map(\.name) == ["model.safetensors", "config.json"])
    #expect(stored.files[0].hash == ContentHash(file) && stored.files[0].size == file.count)
    #expect(stored.files[1].hash == ContentHash(Self.configuration) && stored.files[1].header == nil)
    let entries = try SafeTensorsFile(scratch("model.safetensors")).entries
    #expect(Set(entries.map(\.bytes)) == Set(stored.tensors.map(\.bytes)) && stored.tensors.count == entries.count)
    for tensor in stored.tensors { #expect(tensor.hash == ContentHash(Array(file[tensor.bytes]))) }
    for threads in [1, 2, 5] { #expect(FolderHashes.verify(folder, threads: threads) == []) }
    #expect(try readAll()[1] == weights(7, seed: 1))
  }

  @Test func flippedBitsAreFoundAndNeverRead() throws {
    let right = try readAll().map { $0.map(\.bitPattern) }
    for name in try names(in: folder) {
      let original = try contents(scratch(name))
      for index in 0..<150 {
        let bit = Int(word(index, seed: UInt64(original.count)) % UInt64(8 * original.count))
        var damaged = original
        damaged[bit / 8] ^= 1 << UInt8(bit % 8)
        try scratch.write(damaged, name)
        let found = FolderHashes.verify(folder, threads: 2)
        #expect(!found.isEmpty && found == FolderHashes.verify(folder, threads: 1), "bit \(bit) of \(name)")
        if let values = try? readAll() {
          #expect(name == "config.json" && values.map { $0.map(\.bitPattern) } == right, "bit \(bit) of \(name)")
        }
      }
      try scratch.write(original, name)
    }
    #expect(FolderHashes.verify(folder).isEmpty)
  }

  @Test func damageNamesTensorFileAndBytes() throws {
    let tensor = try #require(try FolderHashes(folder: folder).tensors.first { $0.name == "a.weight" })
    var file = try contents(scratch("model.safetensors"))
    file[tensor.bytes.lowerBound + 9] ^= 0x20
    try scratch.write(file, "model.safetensors")
    let problems = FolderHashes.verify(folder)
    #expect(problems.map(\.tensor) == [nil, "a.weight"] && problems.allSatisfy { $0.file == "model.safetensors" })
    #expect(problems.map(\.range) == [0..<file.count, tensor.bytes])

    let tensors = try ModelFolderTensors(folder)
    #expect(try tensors.read("b.weight") == weights(40 * 33, seed: 0))
    for _ in 0..<2 {
      // Rows that are not damaged are not given, either.
      let error = refusal {
        var row: [Float] = [0]
        var span = row.mutableSpan
        try tensors.read("a.weight", elements: 6..<7, into: &span)
      }
      #expect(error?.tensor == "a.weight" && error?.offset == tensor.bytes.lowerBound)
      #expect(error?.path == scratch("model.safetensors") && error?.hint?.contains("delete hashes.json") == true)
    }
    // One who knows what was done says so.
    try FileManager.default.removeItem(atPath: hashes)
    #expect(try readAll()[1] != weights(7, seed: 1))
  }

  @Test func filesOfAnotherToolAreRefused() throws {
    try FileManager.default.removeItem(atPath: scratch("model.safetensors"))
    let writer = try SafeTensorsWriter(scratch("model.safetensors"), tensors: [.init("a.weight", .f32, [7])])
    try writer.append("a.weight", weights(7, seed: 1).span)
    try writer.commit()
    expectRefusal("delete hashes.json") { _ = try ModelFolderTensors(folder) }
    #expect(FolderHashes.verify(folder).count > 1)
    try FileManager.default.moveItem(atPath: scratch("model.safetensors"), toPath: scratch("part"))
    try scratch.write(
      SafeTensorsWriter.index(totalSize: 28, shards: [("a.weight", "part")]), ModelFolderTensors.indexFile)
    expectRefusal("delete hashes.json") { _ = try ModelFolderTensors(folder) }
  }

  @Test func shortAndMissingFilesAreNamed() throws {
    try scratch.write(Array(try contents(scratch("model.safetensors")).dropLast(100)), "model.safetensors")
    try FileManager.default.removeItem(atPath: scratch("config.json"))
    let problems = FolderHashes.verify(folder)
    #expect(problems.prefix(2).map(\.file) == ["model.safetensors", "config.json"])
    #expect(problems.dropFirst(2).contains { $0.tensor != nil && $0.message.contains("ends at") }, "\(problems)")
  }

  // MARK: Hostile lists

  private static let huge = JSONValue.string("4611686018427387904")

  /// Key of the list, index, member, new value, a word of the refusal.
  static let attacks: [(String, Int, String, JSONValue, String)] = [
    ("files", 0, "name", "../model.safetensors", "inside the folder"), ("files", 0, "name", "", "inside the folder"),
    ("files", 0, "name", "hashes.json", "inside the folder"), ("files", 0, "name", "config.json", "once"),
    ("files", 0, "name", 3, "string"), ("files", 0, "size", -1, "count"), ("files", 0, "size", 10, "within"),
    ("files", 0, "hash", "00", "hexadecimal"), ("files", 0, "header", [], "count"),
    ("files", 0, "header", ["size": huge, "hash": "00000000000000000000000000000000"], "within"),
    ("tensors", 1, "name", "a.weight", "once"), ("tensors", 1, "file", "config.json", "header"),
    ("tensors", 1, "file", "other", "header"), ("tensors", 1, "bytes", [0, 8], "within"),
    ("tensors", 1, "bytes", [0, huge], "within"), ("tensors", 1, "bytes", [8, 0], "ascending"),
    ("tensors", 1, "bytes", [1, 2, 3], "ascending"), ("tensors", 1, "bytes", "x", "array"),
    ("tensors", 1, "hash", nil, "string"),
  ]

  @Test(arguments: 0..<attacks.count)
  func everyFieldIsChecked(index: Int) throws {
    let (list, position, member, value, word) = Self.attacks[index]
    var object = try #require(try JSONScanner.parse(file: hashes).object)
    var elements = try #require(object[list]?.array), element = try #require(elements[position].object)
    element[member] = value
    elements[position] = .object(element)
    object[list] = .array(elements)
    try rewrite(object)
    expectRefusal(word) { _ = try ModelFolderTensors(folder) }
    #expect(FolderHashes.verify(folder).first?.file == FolderHashes.fileName)
  }

  @Test func overlapsOtherVersionsAndOtherFormsAreRefused() throws {
    let object = try #require(try JSONScanner.parse(file: hashes).object)
    var changed = object
    var tensors = try #require(object["tensors"]?.array)
    let start = try #require(tensors[0]["bytes"]?.array?[0].integer)
    for index in 0..<2 {
      var tensor = tensors[index].object!
      tensor["bytes"] = [.integer(start), .integer(start + 8)]
      tensors[index] = .object(tensor)
    }
    changed["tensors"] = .array(tensors)
    try rewrite(changed)
    expectRefusal("overlap") { _ = try FolderHashes(folder: folder) }
    changed = object
    changed["version"] = 2
    try rewrite(changed)
    expectRefusal("version 1") { _ = try FolderHashes(folder: folder) }
    try scratch.write(JSONValue.object(object).serialized(indent: 1), FolderHashes.fileName)
    expectRefusal("canonical") { _ = try FolderHashes(folder: folder) }
    try scratch.write([], FolderHashes.fileName)
    expectRefusal("a value") { _ = try ModelFolderTensors(folder) }
  }

  /// Writes `object` with a hash that is right.
  private func rewrite(_ object: JSONObject) throws {
    var object = object
    object["hash"] = nil
    object["hash"] = .string(ContentHash(JSONValue.object(object).serialized()).description)
    try scratch.write(JSONValue.object(object).serialized(), FolderHashes.fileName)
  }
}
