import Calibration
import Checkpoints
import Formats
import Foundation
import Kernels
import Quantization
import Testing

/// A calibration that was interrupted goes on where it stood, or says why it cannot.
@Suite struct CalibrationResumeTests {
  let scratch: CalibrationScratch
  let model: String
  let sample: CalibrationSample

  init() throws {
    scratch = try CalibrationScratch()
    model = try scratch.model(.shared)
    sample = try Calibrating.sample()
  }

  /// Finished units of a calibration as they lay on disk behind unit `done`: `out` beside them does not exist.
  private func interrupted(_ settings: CalibrationSettings, after wanted: Int, out: String) throws {
    let scratch = scratch
    try Calibrating.run(model, settings, sample, out: scratch("whole")) { progress in
      guard progress.done == wanted else { return }
      try! FileManager.default.copyItem(atPath: scratch("whole.calibration"), toPath: out + ".calibration")
    }
    try FileManager.default.removeItem(atPath: scratch("whole"))
  }

  /// The units of the tiny model are the embedding, two layers and the head.
  @Test(arguments: ["gptq", "upstream+gptq", "awq+gptq", "roste+gptq", "slanc+quarot+smoothquant+upstream", "rtn"])
  func theSameBytes(_ method: String) throws {
    var settings = try Calibrating.settings(method)
    if settings.method.choosesRotations { settings.activations = .mxint4 }
    let whole = scratch("whole"), scratch = scratch
    let record = try Calibrating.run(model, settings, sample, out: whole) { progress in
      #expect(!progress.isResumed && progress.total == 4)
      try! FileManager.default.copyItem(atPath: whole + ".calibration", toPath: scratch("\(progress.done).calibration"))
    }
    let bytes = try Calibrating.files(of: whole)
    for done in 1...4 {
      // On another number of ranks: they decide nothing.
      let resumed = try Calibrating.run(model, settings, sample, ranks: 1 + done % 3, out: scratch("\(done)")) {
        #expect($0.isResumed == ($0.done <= done))
      }
      #expect(try Calibrating.files(of: scratch("\(done)")) == bytes, "\(method) behind unit \(done)")
      #expect(resumed.figures == record.figures)
      #expect(!FileManager.default.fileExists(atPath: scratch("\(done).calibration")))
    }
  }

  @Test func whatDiffersIsNamed() throws {
    let out = scratch("out"), settings = try Calibrating.settings("gptq")
    try interrupted(settings, after: 2, out: out)
    func refused(
      _ words: String..., changing change: (inout CalibrationSettings) -> Void = { _ in }, model: String? = nil,
      sample: CalibrationSample? = nil, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
      var settings = settings
      change(&settings)
      do {
        try Calibrating.run(model ?? self.model, settings, sample ?? self.sample, out: out)
        Issue.record("nothing was refused", sourceLocation: sourceLocation)
      } catch {
        for word in ["out.calibration holds an unfinished calibration with another "] + words {
          let text = "\(error)".replacing(": holds", with: " holds")
          #expect(text.contains(word), "\(text)", sourceLocation: sourceLocation)
        }
        #expect("\(error)".count < 500, "\(error)", sourceLocation: sourceLocation)
      }
    }
    try refused("another model", model: scratch.model(.shared, "other", seed: 2))
    try refused("another text", "seed 0", "seed 7", sample: Calibrating.sample(seed: 7))
    try refused("another text", sample: Calibrating.sample(sequences: 4))
    try refused("another text", sample: Calibrating.sample(tokens: 480))
    try refused("another method", "\"gptq\" instead of \"mr-gptq\"", changing: { $0.method.rounding = .rotatedColumns })
    try refused("another format", "\"mxint4\" instead of \"mxint3\"", changing: { $0.format = .mxint3 })
    try refused("another damping", changing: { $0.damping = 0.1 })
    try refused("another exclude", changing: { $0.selection.exclude = ["model.layers.1.mlp.down_proj.weight"] })
    try refused("another activations", changing: { $0.activations = .mxint8 })
    try refused("another scales", changing: { $0.scales = .betterOfTwo })
    // As before it goes on.
    try Calibrating.run(model, settings, sample, out: out)
  }

  @Test func anotherConfigurationIsNamed() throws {
    let out = scratch("out"), settings = try Calibrating.settings("gptq")
    try interrupted(settings, after: 2, out: out)
    let file = URL(fileURLWithPath: model + "/config.json")
    let text = String(decoding: try Data(contentsOf: file), as: UTF8.self)
    try Data(text.replacing("\"rope_theta\":100", with: "\"rope_theta\":200").utf8).write(to: file)
    Calibrating.refused("another configuration") { try Calibrating.run(model, settings, sample, out: out) }
  }

  @Test func damageIsNoticed() throws {
    let out = scratch("out"), settings = try Calibrating.settings("gptq")
    try interrupted(settings, after: 3, out: out)
    let unit = out + ".calibration/unit-001"
    for name in try FileManager.default.subpathsOfDirectory(atPath: unit) {
      let file = URL(fileURLWithPath: unit + "/" + name)
      guard let whole = try? Data(contentsOf: file), whole.count > 64 else { continue }
      var bytes = whole
      bytes[bytes.count / 2] ^= 0x10
      try bytes.write(to: file)
      Calibrating.refused("unit-001/") { try Calibrating.run(model, settings, sample, out: out) }
      try whole.write(to: file)
    }
    // A unit that is gone, and what is behind it, are made again.
    let whole = scratch("again")
    try Calibrating.run(model, settings, sample, out: whole)
    try FileManager.default.removeItem(atPath: unit)
    try Calibrating.run(model, settings, sample, out: out)
    #expect(try Calibrating.files(of: out) == Calibrating.files(of: whole))
  }

  @Test func aCalibrationThatFailedAtOnceLeavesTheWayFree() throws {
    let broken = scratch("broken")
    try ReparameterisationModel.shared.write(to: broken) { name, values in
      if name == "model.embed_tokens.weight" { values[3] = .nan }
    }
    let out = scratch("out"), settings = try Calibrating.settings("gptq")
    Calibrating.refused("model.embed_tokens.weight") { try Calibrating.run(broken, settings, sample, out: out) }
    try Calibrating.run(model, settings, sample, out: out)
  }
}
