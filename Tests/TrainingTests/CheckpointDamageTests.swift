import Checkpoints
import Foundation
import Tensors
import Testing
import Training

/// Whatever happens to the bytes of a checkpoint, no run goes on from other numbers without being told.
@Suite struct CheckpointDamageTests {
  /// A checkpoint of two ranks, with an older one beside it.
  private func checkpoint(in place: RunPlace) throws -> (path: String, files: [String]) {
    try Runs.finish(place.settings("run", ["checkpoint.anchor=false"]), ranks: 2)
    return (place("run/checkpoints/step-000006"), place.names("run/checkpoints/step-000006"))
  }

  private func put(_ bytes: [UInt8], _ path: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }

  @Test func singleBitFlips() throws {
    let place = try RunPlace()
    let (path, files) = try checkpoint(in: place)
    let good = try place.state("run", 6)
    let flips = Faults.count(520) / files.count + 1
    var refused = 0, silent: [String] = []
    for file in files {
      let original = try place.bytes("run/checkpoints/step-000006/" + file)
      for index in 0..<flips {
        let random = CounterRandom(seed: 5, stream: "flips of " + file).integer(UInt64(index), below: UInt64(original.count * 8))
        var damaged = original
        damaged[Int(random / 8)] ^= 1 << UInt8(random % 8)
        try put(damaged, path + "/" + file)
        do {
          try TrainingCheckpoint(path: path)!.verify()
          silent.append("bit \(random) of \(file)")
        } catch {
          refused += 1
          #expect("\(error)".contains("step-000006"), "\(error)")
        }
        // Without verification: what reads gives the numbers that were written, or nothing.
        if let state = try? place.read("run", 6) { #expect(state == good.filter { $0.key.contains("/") }, "bit \(random) of \(file)") }
      }
      try put(original, path + "/" + file)
    }
    #expect(silent.isEmpty && refused >= 500, "\(refused) refused, \(silent)")
    try TrainingCheckpoint(path: path)!.verify()
  }

  /// What checksums are for: the same flips in the frames' payload, read by a reader that checks nothing.
  @Test func withoutHashesFlipsAreSilent() throws {
    let place = try RunPlace()
    let (path, _) = try checkpoint(in: place)
    let container = try TensorContainer(path)
    let raw = container.tensors.flatMap(\.pieces).flatMap(\.planes).flatMap(\.chunks).filter { $0.isRaw && $0.size > 1000 }
    let chunk = try #require(raw.first)
    let file = path + "/" + container.manifest.files[chunk.file].name
    let original = try Data(contentsOf: URL(fileURLWithPath: file))
    // A frame of raw blocks: a header of 9 bytes, then 3 before the first block.
    let payload = chunk.offset + 12
    for index in 0..<60 {
      let random = CounterRandom(seed: 6, stream: "payload").integer(UInt64(index), below: 8000)
      var damaged = original
      damaged[payload + Int(random / 8)] ^= 1 << UInt8(random % 8)
      #expect(damaged[payload..<payload + 1000] != original[payload..<payload + 1000])
      try damaged.write(to: URL(fileURLWithPath: file))
      #expect(throws: (any Error).self) { try TrainingCheckpoint(path: path)!.verify() }
    }
  }

  @Test func truncatedAndLongerFiles() throws {
    let place = try RunPlace()
    let (path, files) = try checkpoint(in: place)
    for file in files {
      let original = try place.bytes("run/checkpoints/step-000006/" + file)
      for size in [0, 1, original.count / 2, original.count - 1] {
        try put(Array(original.prefix(size)), path + "/" + file)
        let error = #expect(throws: (any Error).self) { try TrainingCheckpoint(path: path)!.verify() }
        #expect("\(error!)".contains(file), "\(file) cut to \(size): \(error!)")
      }
      try put(original + [0], path + "/" + file)
      #expect(throws: (any Error).self) { try TrainingCheckpoint(path: path)!.verify() }
      // The run goes on from the one before and says so.
      try put(Array(original.prefix(original.count / 2)), path + "/" + file)
      let ends = try Runs.ends(ranks: 2, resume: .newest) { _ in try place.settings("run", ["checkpoint.anchor=false"]) }
      #expect(ends[0].lines.contains { $0.contains("refused") && $0.contains(file) }, "\(ends)")
      #expect(ends[0].lines.contains { $0.contains("resumed at step 3") }, "\(ends)")
      try place.remove("run/checkpoints/step-000006.corrupt")
    }
  }

  @Test func missingExtraAndExchangedFiles() throws {
    let place = try RunPlace()
    let (path, files) = try checkpoint(in: place)
    func expectRefused(_ what: String, _ word: String) {
      let error = #expect(throws: (any Error).self, "\(what)") { try TrainingCheckpoint(path: path)!.verify() }
      if let error { #expect("\(error)".contains(word), "\(what): \(error)") }
    }
    for file in files {
      let original = try place.bytes("run/checkpoints/step-000006/" + file)
      try place.remove("run/checkpoints/step-000006/" + file)
      expectRefused("without \(file)", file)
      try put(original, path + "/" + file)
    }
    try put([1], path + "/data-00007-00000.zst")
    expectRefused("a file more", "data-00007-00000.zst")
    try place.remove("run/checkpoints/step-000006/data-00007-00000.zst")
    let one = path + "/data-00000-00000.zst", other = path + "/data-00001-00000.zst"
    try Files.exchange(one, other)
    expectRefused("files of two ranks exchanged", "data-0000")
    try Files.exchange(one, other)
    // The manifest of another step, with its own data or with ours.
    let older = place("run/checkpoints/step-000003")
    try Files.exchange(path + "/manifest.json", older + "/manifest.json")
    expectRefused("the manifest of another step", "step-000006")
    try Files.exchange(path + "/manifest.json", older + "/manifest.json")
    try Files.exchange(path, older)
    expectRefused("another step under this name", "step 3")
    try Files.exchange(path, older)
    try TrainingCheckpoint(path: path)!.verify()
  }

  /// Sealed again after the change: only the structure can tell.
  @Test func hostileManifests() throws {
    let place = try RunPlace()
    let (path, _) = try checkpoint(in: place)
    let name = "run/checkpoints/step-000006/manifest.json", original = try place.bytes("run/checkpoints/step-000006/manifest.json")
    func expectRefused(_ words: String, _ edit: (inout JSONObject) -> Void) throws {
      try place.editManifest(name, edit)
      let error = #expect(throws: (any Error).self, "\(words)") { try TrainingCheckpoint(path: path)!.verify() }
      if let error { #expect("\(error)".contains(words), "\(error)") }
      try put(original, path + "/manifest.json")
    }
    func tensor(_ object: inout JSONObject, _ edit: (inout JSONObject) -> Void) {
      var tensors = object["tensors"]!.array!
      var first = tensors[0].object!
      edit(&first)
      tensors[0] = .object(first)
      object["tensors"] = .array(tensors)
    }
    func chunk(_ object: inout JSONObject, _ edit: (inout JSONObject) -> Void) {
      tensor(&object) { tensor in
        var pieces = tensor["pieces"]!.array!, piece = pieces[0].object!
        var planes = piece["planes"]!.array!, plane = planes[0].object!
        var chunks = plane["chunks"]!.array!, chunk = chunks[0].object!
        edit(&chunk)
        chunks[0] = .object(chunk)
        plane["chunks"] = .array(chunks)
        planes[0] = .object(plane)
        piece["planes"] = .array(planes)
        pieces[0] = .object(piece)
        tensor["pieces"] = .array(pieces)
      }
    }
    try expectRefused("inside the directory") { object in
      var files = object["files"]!.array!, file = files[0].object!
      file["name"] = "../../model/model.safetensors"
      files[0] = .object(file)
      object["files"] = .array(files)
    }
    try expectRefused("shape") { tensor(&$0) { $0["shape"] = [.integer(1 << 40), .integer(1 << 20)] } }
    try expectRefused("rows") { tensor(&$0) { $0["pieces"] = [] } }
    try expectRefused("chunk") { chunk(&$0) { $0["size"] = .integer(1 << 60) } }
    try expectRefused("frame within") { chunk(&$0) { $0["offset"] = .integer(1 << 60) } }
    try expectRefused("frame within") { chunk(&$0) { $0["stored"] = .integer(1 << 61) } }
    try expectRefused("fp32 in a checkpoint") { tensor(&$0) { $0["format"] = "mxint8" } }
    try expectRefused("kind") { $0["kind"] = "anchor" }
    try expectRefused("ranks, nodes, text") { object in
      var metadata = object["metadata"]!.object!
      metadata["nodes"] = nil
      object["metadata"] = .object(metadata)
    }
    // A tensor of the model under another name is one that is missing.
    try place.editManifest(name) { tensor(&$0) { $0["name"] = "master/other" } }
    let ends = try Runs.ends(ranks: 2, resume: .from(path)) { _ in try place.settings("run", ["checkpoint.anchor=false"]) }
    #expect(ends.allSatisfy { $0.isCollective } && ends[0].error!.contains("master/"), "\(ends)")
  }
}
