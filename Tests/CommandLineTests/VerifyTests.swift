import Checkpoints
import Foundation
import Testing

@Suite struct VerifyTests {
  let scratch: Scratch
  let model: String

  init() throws {
    scratch = try Scratch()
    model = scratch("model")
    try TinyModel.write(to: model)
  }

  private func damage(_ path: String, at offset: UInt64) throws {
    let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    try file.seek(toOffset: offset)
    let byte = try #require(try file.read(upToCount: 1)?.first)
    try file.seek(toOffset: offset)
    try file.write(contentsOf: Data([byte ^ 0x10]))
    try file.close()
  }

  /// Problems that `verify --json` lists, and what it says to people.
  private func problems(_ path: String) throws -> [[String: Any]] {
    let people = try CommandLineTool.run(["verify", path])
    #expect(people.status == 1 && people.output.isEmpty && people.errors.hasPrefix("error: \(path): "))
    let machines = try CommandLineTool.run(["verify", path, "--json"])
    let object = try machines.object()
    #expect(machines.status == 1 && object["ok"] as? Bool == false)
    let part = try #require((object["parts"] as? [[String: Any]])?.first)
    return part["problems"] as? [[String: Any]] ?? []
  }

  @Test func whatIsWholeHolds() throws {
    #expect(try CommandLineTool.run(["convert", model, "--to", "mxint8", "--out", scratch("anchor")]).status == 0)
    try scratch.write("a text", to: "text.txt")
    #expect(try CommandLineTool.run(["prepare", "--model", model, "--text", scratch("text.txt"), "--out", scratch("t.bin")]).status == 0)
    try writeDense(to: "dense")
    try writeCheckpoint(to: scratch("step"), step: 12)
    for (path, word) in [
      (model, "there are no checksums"), (scratch("anchor"), "every checksum holds"), (scratch("t.bin"), "checksum holds"),
      (scratch("dense"), "every checksum holds, every weight is finite"),
      (scratch("step"), "training checkpoint of step 12, 2 tensors"),
    ] {
      let result = try CommandLineTool.run(["verify", path])
      #expect(result.status == 0 && result.errors.isEmpty && result.output.contains(word), "\(result)")
      #expect(try CommandLineTool.run(["verify", path, "--json"]).object()["ok"] as? Bool == true)
    }
  }

  @Test func aDamagedAnchorNamesItsTensor() throws {
    #expect(try CommandLineTool.run(["convert", model, "--to", "mxint8", "--out", scratch("anchor")]).status == 0)
    let data = try #require(
      try FileManager.default.contentsOfDirectory(atPath: scratch("anchor")).first { $0.hasPrefix("data") })
    try damage(scratch("anchor/" + data), at: 100)
    let found = try problems(scratch("anchor"))
    #expect(found.contains { $0["tensor"] as? String == "model.embed_tokens.weight" }, "\(found)")
  }

  /// What reads weights refuses a damaged tensor, names it and the byte, and gives nothing.
  private func expectRefused(_ path: String, tensor: String, file: String, byte: Int) throws {
    try scratch.write(String(repeating: "some text ", count: 20), to: "text.txt")
    for arguments in [
      ["evaluate", path, "--text", scratch("text.txt")], ["generate", path, "--prompt", "a", "--max-tokens", "2"],
      ["convert", path, "--to", "mxint4", "--out", scratch("out")],
    ] {
      let result = try CommandLineTool.run(arguments)
      #expect(result.status != 0 && !result.isSignal && result.output.isEmpty, "\(arguments[0]): \(result)")
      for word in ["\"\(tensor)\"", "at byte \(byte)", file] {
        #expect(result.errors.contains(word), "\(arguments[0]), \(word): \(result.errors)")
      }
      #expect(!FileManager.default.fileExists(atPath: scratch("out")))
    }
  }

  private func writeDense(to name: String) throws {
    let result = try CommandLineTool.run(["convert", model, "--to", "mxint8", "--as", "dense", "--out", scratch(name)])
    #expect(result.status == 0, "\(result)")
  }

  private func writeCheckpoint(to path: String, step: Int) throws {
    let metadata: JSONValue = ["step": .integer(step)]
    let writer = try ContainerWriter(directory: path, kind: .checkpoint, metadata: metadata.object!)
    for name in ["master/a.weight", "moment1/a.weight"] {
      try writer.addDense(name: name, shape: [3, 2], values: ([1, 2, 3, 4, 5, 6] as [Float]).span)
    }
    try writer.commit()
  }

  @Test func aFlippedBitOfAnAnchorIsRefusedByAll() throws {
    let anchor = scratch("anchor"), name = "model.layers.0.mlp.up_proj.weight"
    #expect(try CommandLineTool.run(["convert", model, "--to", "mxint8", "--out", anchor]).status == 0)
    let manifest = try TensorContainer(anchor).manifest
    let chunk = try #require(manifest.tensors.first { $0.name == name }).pieces[0].planes[0].chunks[0]
    let file = manifest.files[chunk.file].name
    try damage(anchor + "/" + file, at: UInt64(chunk.offset + chunk.storedSize / 2))
    let found = try problems(anchor)
    #expect(found.map { $0["file"] as? String } == [file, file], "\(found)")
    #expect(found.last?["tensor"] as? String == name)
    #expect(found.last?["bytes"] as? [Int] == [chunk.offset, chunk.offset + chunk.storedSize])
    try expectRefused(anchor, tensor: name, file: file, byte: chunk.offset)
  }

  @Test func aFlippedBitOfADenseFolderIsRefusedByAll() throws {
    let name = "model.layers.0.mlp.up_proj.weight"
    try writeDense(to: "dense")
    let tensor = try #require(try FolderHashes(folder: scratch("dense")).tensors.first { $0.name == name })
    try damage(scratch("dense/model.safetensors"), at: UInt64(tensor.bytes.lowerBound + 1000))
    let found = try problems(scratch("dense"))
    #expect(found.map { $0["file"] as? String } == ["model.safetensors", "model.safetensors"], "\(found)")
    #expect(found.last?["tensor"] as? String == name)
    #expect(found.last?["bytes"] as? [Int] == [tensor.bytes.lowerBound, tensor.bytes.upperBound])
    try expectRefused(
      scratch("dense"), tensor: name, file: "model.safetensors", byte: tensor.bytes.lowerBound)

    try FileManager.default.removeItem(atPath: scratch("dense/hashes.json"))
    let trusting = ["convert", scratch("dense"), "--to", "mxint4", "--out", scratch("out")]
    #expect(try CommandLineTool.run(trusting).status == 0)
  }

  /// Hashes describe the folder they lie in.
  @Test func hashesDoNotTravel() throws {
    try writeDense(to: "dense")
    let anchor = ["convert", scratch("dense"), "--to", "mxint8", "--out", scratch("again")]
    #expect(try CommandLineTool.run(anchor).status == 0)
    #expect(!FileManager.default.fileExists(atPath: scratch("again/hashes.json")))
    let dense = ["convert", scratch("dense"), "--to", "mxint8", "--as", "dense", "--out", scratch("second")]
    #expect(try CommandLineTool.run(dense).status == 0)
    for path in ["again", "second"] { #expect(try CommandLineTool.run(["verify", scratch(path)]).status == 0) }
  }

  @Test func aDamagedTrainingCheckpoint() throws {
    try writeCheckpoint(to: scratch("step"), step: 3)
    try damage(scratch("step/data-00000-00000.zst"), at: 10)
    let found = try problems(scratch("step"))
    #expect(found.contains { $0["tensor"] as? String == "master/a.weight" && $0["bytes"] is [Int] }, "\(found)")
  }

  @Test func aWeightThatIsNoNumberNamesItsTensor() throws {
    let name = "model.layers.0.mlp.up_proj.weight"
    try TinyModel.write(to: scratch("bad"), unusable: name)
    let found = try problems(scratch("bad"))
    #expect(found.count == 1 && found[0]["tensor"] as? String == name)
    #expect((found[0]["message"] as? String)?.contains("nan at row 1, column 8") == true, "\(found)")
  }

  @Test func aShortenedModelIsRefused() throws {
    let file = model + "/model.safetensors"
    let data = try Data(contentsOf: URL(fileURLWithPath: file))
    try data.dropLast(64).write(to: URL(fileURLWithPath: file))
    #expect(try !problems(model).isEmpty)
  }

  @Test func aDamagedTokenFile() throws {
    try scratch.write("a text", to: "text.txt")
    let path = scratch("t.bin")
    #expect(try CommandLineTool.run(["prepare", "--model", model, "--text", scratch("text.txt"), "--out", path]).status == 0)
    try damage(path, at: 130)
    let found = try problems(path)
    #expect((found.first?["message"] as? String)?.contains("hash") == true)
  }

  @Test func aRunIsVerifiedByItsParts() throws {
    try scratch.write(#"{"step":1,"loss":3}"# + "\n", to: "run/metrics.jsonl")
    let nothing = try CommandLineTool.run(["verify", scratch("run")])
    #expect(nothing.status == 1 && nothing.errors.contains("nothing to verify"))
    #expect(try CommandLineTool.run(["convert", model, "--to", "mxint8", "--out", scratch("run/anchor")]).status == 0)
    for step in [9, 10] {
      try writeCheckpoint(to: scratch("run/checkpoints/" + (step == 9 ? "step-000009" : "step-000010")), step: step)
    }
    try writeCheckpoint(to: scratch("run/checkpoints/step-000011.corrupt"), step: 11)
    let result = try CommandLineTool.run(["verify", scratch("run")])
    let lines = result.output.split(separator: "\n")
    #expect(result.status == 0 && lines.count == 3, "\(result)")
    #expect(lines.last?.contains("step 9, 2 tensors") == true && lines.dropFirst().first?.contains("step 10,") == true)
    try damage(scratch("run/checkpoints/step-000010/data-00000-00000.zst"), at: 10)
    let damaged = try CommandLineTool.run(["verify", scratch("run"), "--json"])
    let parts = try damaged.object()["parts"] as? [[String: Any]]
    #expect(damaged.status == 1 && parts?.map { $0["ok"] as? Bool } == [true, false, true], "\(damaged)")
    #expect(parts?.map { $0["kind"] as? String } == ["anchor", "training checkpoint", "training checkpoint"])
  }
}
