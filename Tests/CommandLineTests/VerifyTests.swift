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
    for (path, word) in [(model, "finite"), (scratch("anchor"), "every checksum holds"), (scratch("t.bin"), "checksum holds")] {
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
    try TinyModel.write(to: scratch("run/checkpoints/step-000001"))
    let result = try CommandLineTool.run(["verify", scratch("run")])
    #expect(result.status == 0 && result.output.split(separator: "\n").count == 2, "\(result)")
  }
}
