import Calibration
import Formats
import Foundation
import Kernels
import Quantization
import Tensors
import Testing
import Text
import Transformer

/// Models, texts and settings that nothing good could come of, and what is said of channels without energy.
@Suite struct CalibrationRefusalTests {
  let scratch: CalibrationScratch
  init() throws { scratch = try CalibrationScratch() }

  private func refused(
    _ words: [String], ranks: Int = 1, method: String = "gptq", format: MXFormat = .mxint4,
    changing change: (inout CalibrationSettings) -> Void = { _ in },
    editing edit: (_ name: String, _ values: inout [Float]) -> Void = { _, _ in },
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let folder = scratch(UUID().uuidString), out = folder + "-out"
    try ReparameterisationModel.shared.write(to: folder, edit: edit)
    var settings = try Calibrating.settings(method, format)
    change(&settings)
    do {
      try Calibrating.run(folder, settings, Calibrating.sample(), ranks: ranks, out: out)
      Issue.record("nothing was refused", sourceLocation: sourceLocation)
    } catch {
      for word in words { #expect("\(error)".contains(word), "\(error)", sourceLocation: sourceLocation) }
    }
    #expect(!FileManager.default.fileExists(atPath: out), sourceLocation: sourceLocation)
  }

  // MARK: Numbers

  @Test(arguments: [
    "model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.weight", "model.layers.0.mlp.down_proj.weight",
    "model.layers.0.input_layernorm.weight", "model.norm.weight",
  ])
  func weightsThatAreNoNumbers(_ name: String) throws {
    for (method, value) in [("rtn", Float.nan), ("gptq", .infinity), ("quarot", .nan)] {
      try refused(
        ["tensor '\(name)'", "NaN or infinity"], ranks: 2, method: method, editing: { if $0 == name { $1[7] = value } })
    }
  }

  @Test(arguments: ["gptq", "awq", "smoothquant", "upstream", "magr"])
  func activationsThatAreNoNumbers(_ method: String) throws {
    for ranks in [1, 2] {
      // A method that compares outputs sees them a product earlier.
      let place = method == "upstream" ? "model.layers.0, input of down, or the output" : "model.layers.1, input of "
      try refused([place, "NaN or infinity"], ranks: ranks, method: method, editing: { name, values in
        guard name == "model.layers.0.mlp.down_proj.weight" else { return }
        for i in values.indices { values[i] *= 3e38 }
      })
    }
    // Energies beyond the range of fp32, though the input itself is a number.
    try refused(["model.layers.1, input of down", "NaN or infinity"], editing: { name, values in
      guard name == "model.layers.1.mlp.up_proj.weight" else { return }
      for i in values.indices { values[i] *= 1e22 }
    })
  }

  // MARK: Texts

  @Test func textsThatAreTooShort() throws {
    Calibrating.refused("30 windows of 16 tokens", "31 sequences") {
      _ = try Calibrating.sample(sequences: 31, tokens: 480)
    }
    #expect(try Calibrating.sample(sequences: 30, tokens: 480).tokenCount == 480)
    Calibrating.refused("text is empty") {
      _ = try CalibrationSample(.memory([]), count: 1, context: 16, seed: 0)
    }
    Calibrating.refused("16 tokens", "15 tokens") { _ = try Calibrating.sample(sequences: 1, tokens: 15) }
    Calibrating.refused("at most 4096") {
      _ = try CalibrationSample(.memory(Array(repeating: 1, count: 20_000)), count: 4097, context: 2, seed: 0)
    }
  }

  @Test func sequencesAreDrawnWithoutRepetition() throws {
    let sample = try CalibrationSample(.memory((0..<256).map { Int32($0) }), count: 16, context: 16, seed: 4)
    #expect(Set(sample.sequences.map { $0[0] }).count == 16 && sample.sequences.allSatisfy { $0[0] % 16 == 0 })
    #expect(sample.sequences.map { $0[0] } != (0..<16).map { Int32(16 * $0) })
  }

  @Test func aContextBeyondTheModel() throws {
    let folder = try scratch.model(.shared)
    for ranks in [1, 2] {
      Calibrating.refused("65 tokens", "attends to 64") {
        try Calibrating.run(
          folder, Calibrating.settings("gptq"), Calibrating.sample(context: 65), ranks: ranks, out: scratch("out"))
      }
    }
  }

  @Test func methodsThatReadTextNeedIt() throws {
    let folder = try scratch.model(.shared)
    for method in ["gptq", "gptq-block", "mr-gptq", "awq", "awq-clip", "smoothquant", "roste", "magr", "upstream"] {
      Calibrating.refused(method, "needs text") {
        try Calibrating.run(folder, Calibrating.settings(method), nil, out: scratch("out"))
      }
    }
    for method in ["rtn", "quarot", "hadamard", "slanc", "quarot+slanc"] {
      let record = try Calibrating.run(folder, Calibrating.settings(method), nil, out: scratch(method))
      #expect(record.sample == nil && record.figures.allSatisfy { $0.outputError == nil && $0.weightError > 0 })
    }
  }

  // MARK: Selections and settings

  @Test func selectionsThatAProductCannotFollow() throws {
    for half in ["self_attn.k_proj", "mlp.up_proj", "mlp.gate_proj"] {
      try refused(
        ["model.layers.1.", "treated alike"], changing: { $0.selection.exclude = ["model.layers.1.\(half).weight"] })
    }
    try refused(
      ["treated alike"], changing: { $0.allocation = ["model.layers.0.self_attn.v_proj.weight": .mxint8] })
    for other in ["model.embed_tokens.weight", "model.norm.weight"] {
      try refused([other], changing: { $0.selection.include.append(other) })
    }
    try refused(["k_prj"], changing: { $0.selection.exclude = ["*.k_prj.weight"] })
  }

  @Test func settingsThatContradictThemselves() throws {
    try refused(["mxint4 is no anchor"], changing: { $0.targets = [RoundingTarget(.mxint4)] })
    try refused(
      ["mxfp4 cannot be cut from mxint8"], format: .mxint8, changing: { $0.targets = [RoundingTarget(.mxfp4)] })
    try refused(
      ["rtn rounds for its own format"], method: "rtn", format: .mxint8,
      changing: { $0.targets = [RoundingTarget(.mxint4)] })
    try refused(["mxint8 is an anchor", "floor"], format: .mxint8, changing: { $0.scales = .betterOfTwo })
    try refused(["rotation block", "48"], method: "mr-gptq", changing: { $0.rotationBlock = 48 })
    try refused(["alpha"], method: "smoothquant", changing: { $0.alpha = 1.5 })
    try refused(["damping"], changing: { $0.damping = 0 })
    try refused(["damping"], changing: { $0.damping = .nan })
    try refused(["activation format"], changing: { $0.roundsInputs = true })
  }

  @Test func outputsThatExist() throws {
    let folder = try scratch.model(.shared), settings = try Calibrating.settings("rtn")
    let file = scratch("file")
    try Data("kept".utf8).write(to: URL(fileURLWithPath: file))
    for out in [file, folder] {
      Calibrating.refused(out, "exists already") { try Calibrating.run(folder, settings, nil, ranks: 2, out: out) }
      #expect(!FileManager.default.fileExists(atPath: out + ".calibration"))
    }
    #expect(try String(contentsOfFile: file, encoding: .utf8) == "kept")
    try FileManager.default.createDirectory(atPath: scratch("empty"), withIntermediateDirectories: true)
    try Calibrating.run(folder, settings, nil, out: scratch("empty") + "/")
    _ = try AnchorModel(scratch("empty"))
  }

  @Test func everyMethodIsWhatItsNameSays() throws {
    let roundings = ["rtn", "gptq", "gptq-block", "mr-gptq"], scalings = ["", "awq", "awq-clip", "smoothquant"]
    var names: Set<String> = []
    for rotation in ["", "quarot", "hadamard", "roste", "roste+hadamard"] {
      for scaling in scalings {
        for rounding in roundings {
          for more in ["", "magr", "slanc", "upstream", "upstream+magr+slanc"] {
            let name = [rotation, scaling, more, rounding].filter { !$0.isEmpty }.joined(separator: "+")
            guard let method = try? CalibrationMethod(name) else {
              #expect(rotation == "quarot" && rounding == "mr-gptq", "\(name)")
              continue
            }
            #expect(try CalibrationMethod(method.description) == method, "\(name)")
            names.insert(method.description)
          }
        }
      }
    }
    #expect(names.count == 4 * 5 * (4 + 3 + 3 + 4 + 3), "\(names.count)")
  }

  // MARK: Reports

  @Test(arguments: ["gptq", "gptq-block", "mr-gptq", "upstream+gptq"])
  func deadChannelsAreReportedAndTheirWeightsAreZero(_ method: String) throws {
    // Without gate a channel of down's input is always 0.
    let columns = 160, dead = [0, 37]
    try ReparameterisationModel.shared.write(to: scratch("dead")) { name, values in
      guard name == "model.layers.0.mlp.gate_proj.weight" else { return }
      for row in dead { for j in 0..<64 { values[row * 64 + j] = 0 } }
    }
    let record = try Calibrating.run(
      scratch("dead"), Calibrating.settings(method), Calibrating.sample(), ranks: 2, out: scratch("out"))
    let name = "model.layers.0.mlp.down_proj.weight"
    // Block rotations spread every channel over its block, and none is dead there.
    let isRotated = record.settings.method.rotation != .none
    for figures in record.figures {
      #expect(figures.deadChannels == (figures.name == name && !isRotated ? dead.count : 0), "\(figures)")
    }
    guard !isRotated else { return }
    let down = try Calibrating.tensor(name, of: scratch("out"))
    #expect(down.indices.allSatisfy { !dead.contains($0 % columns) || down[$0] == 0 })
    #expect(down.count { $0 == 0 } < down.count / 2)
  }

  @Test(arguments: ["gptq", "gptq-block", "mr-gptq"])
  func dampingIsRaisedAndReported(_ method: String) throws {
    // 16 tokens for 64 and 160 channels.
    let folder = try scratch.model(.shared)
    var settings = try Calibrating.settings(method)
    settings.damping = 1e-12
    let record = try Calibrating.run(folder, settings, Calibrating.sample(sequences: 1), ranks: 2, out: scratch("out"))
    for figures in record.figures {
      let damping = try #require(figures.damping)
      #expect(damping > 1e-12 && damping <= 1 && !figures.dampingRaises.isEmpty, "\(figures)")
      #expect(figures.dampingRaises[0].hasPrefix("damping 1e-12 -> "), "\(figures.dampingRaises)")
      #expect(figures.outputError.map { $0.isFinite && $0 < 1 } == true)
    }
    let sound = try Calibrating.run(folder, Calibrating.settings(method), Calibrating.sample(), out: scratch("sound"))
    #expect(sound.figures.allSatisfy { $0.dampingRaises.isEmpty && $0.damping == 0.01 })
  }
}
