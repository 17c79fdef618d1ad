import Calibration
import Checkpoints
import Formats
import Foundation
import Quantization
import Tensors
import Testing
import Transformer

/// A whole calibration, from a model on disk to an anchor.
@Suite struct CalibrationRunTests {
  let scratch: CalibrationScratch
  init() throws { scratch = try CalibrationScratch() }

  // MARK: Ranks

  /// Every method gives the same bytes on any number of ranks, more than sequences and tiles of rows included.
  @Test(arguments: [
    "rtn", "gptq", "gptq-block", "mr-gptq", "awq", "awq-clip", "smoothquant", "quarot", "hadamard", "roste", "magr",
    "slanc", "upstream", "quarot+awq+gptq", "upstream+mr-gptq", "roste+hadamard+gptq",
    "quarot+smoothquant+magr+gptq-block", "slanc+awq-clip+gptq",
  ])
  func ranksChangeNothing(_ method: String) throws {
    var settings = try Calibrating.settings(method)
    if settings.method.choosesRotations { settings.activations = .mxint4 }
    try expectTheSame(.shared, settings, ranks: [1, 2, 3, 4])
  }

  @Test(arguments: ReparameterisationModel.calibrated.dropFirst(), ["quarot+awq+gptq", "roste+hadamard+upstream+gptq"])
  func ranksChangeNothing(_ model: ReparameterisationModel, _ method: String) throws {
    try expectTheSame(model, Calibrating.settings(method, .mxfp4), ranks: [1, 3])
  }

  @Test func ranksChangeNothingInAnAnchorWithTargets() throws {
    var settings = try Calibrating.settings("mr-gptq", .mxint8)
    settings.targets = [RoundingTarget(.mxint8), RoundingTarget(.mxint3, weight: 2)]
    settings.activations = .mxint8
    settings.roundsInputs = true
    try expectTheSame(.shared, settings, ranks: [1, 2, 4])
  }

  private func expectTheSame(
    _ model: ReparameterisationModel, _ settings: CalibrationSettings, ranks: [Int],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let folder = try scratch.model(model), sample = try Calibrating.sample()
    var found: [[String: Checkpoints.ContentHash]] = []
    for ranks in ranks {
      let out = scratch("out-\(ranks)")
      let clock = ContinuousClock.now
      let record = try Calibrating.run(folder, settings, sample, ranks: ranks, out: out)
      figure("\(settings.method) on \(ranks) ranks: \(clock.duration(to: .now)), of it \(record.seconds)")
      #expect(record.ranks == ranks && record.figures.count == 4 * 2, sourceLocation: sourceLocation)
      found.append(try Calibrating.files(of: out))
      #expect(
        found.last == found[0], "\(settings.method) of \(model.name) on \(ranks) ranks",
        sourceLocation: sourceLocation)
      #expect(!FileManager.default.fileExists(atPath: out + ".calibration"), sourceLocation: sourceLocation)
    }
    #expect(found[0].keys.contains("config.json"), sourceLocation: sourceLocation)
  }

  // MARK: The function

  /// Rounding to 8 bits moves the logits of these models by 2 to 3 % whatever the method; a rotation, scaling or fold
  /// at a wrong place moves them by their own size.
  @Test(arguments: ReparameterisationModel.calibrated, [
    "rtn", "smoothquant", "awq", "quarot", "hadamard", "roste", "roste+hadamard", "quarot+smoothquant", "hadamard+awq",
    "mr-gptq",
  ])
  func theFunctionIsKept(_ model: ReparameterisationModel, _ method: String) throws {
    var settings = try Calibrating.settings(method, .mxint8)
    if settings.method.choosesRotations { settings.activations = .mxint8 }
    let folder = try scratch.model(model)
    try Calibrating.run(folder, settings, Calibrating.sample(), out: scratch("out"))
    let before = try ReparameterisationTests.logits(Calibrating.load(folder))
    let after = try ReparameterisationTests.logits(Calibrating.load(scratch("out")))
    let distance = relativeError(after, before).squareRoot()
    figure("logits of mxint8 by \(method) of \(model.name): \(distance)")
    #expect(distance < 3.5e-2 && distance > 0, "\(distance)")
    let anchor = try AnchorModel(scratch("out"))
    let rotates = ["quarot", "hadamard", "roste", "mr-gptq"].contains(where: method.contains)
    #expect(anchor.configuration.transforms.isEmpty == !rotates)
  }

  @Test func aModelThatIsRotatedAlreadyIsRoundedAnew() throws {
    let folder = try scratch.model(.llama), sample = try Calibrating.sample()
    for rotation in ["quarot", "hadamard"] {
      let rotated = scratch(rotation), again = scratch(rotation + "-again")
      try Calibrating.run(folder, Calibrating.settings(rotation, .mxint8), sample, out: rotated)
      // What has been rounded stays what it is, so every difference is a rotation too many.
      let record = try Calibrating.run(rotated, Calibrating.settings("rtn", .mxint8), nil, out: again)
      #expect(record.coordinates.isReparameterised && record.figures.allSatisfy { $0.weightError == 0 })
      #expect(try AnchorModel(again).configuration.transforms == AnchorModel(rotated).configuration.transforms)
      let before = try ReparameterisationTests.logits(Calibrating.load(rotated))
      #expect(try ReparameterisationTests.logits(Calibrating.load(again)) == before)
      // The statistics are those of rotated inputs.
      try Calibrating.run(rotated, Calibrating.settings("upstream+gptq", .mxint6), sample, out: again + "-6")
      let after = try ReparameterisationTests.logits(Calibrating.load(again + "-6"))
      let distance = relativeError(after, before).squareRoot()
      #expect(distance < 0.2, "\(distance)")
      Calibrating.refused("online rotations") {
        try Calibrating.run(rotated, Calibrating.settings("quarot+gptq"), sample, out: again + "-x")
      }
    }
  }

  // MARK: The anchor

  @Test func theAnchorSaysWhatWasDone() throws {
    let folder = try scratch.model(.shared), sample = try Calibrating.sample()
    for method in ["gptq", "magr", "slanc", "awq", "quarot"] {
      let isReparameterised = ["awq", "quarot"].contains(method), readsText = ["gptq", "magr", "awq"].contains(method)
      let out = scratch(method)
      let record = try Calibrating.run(folder, Calibrating.settings(method, .mxint8), sample, out: out)
      let calibration = try #require(AnchorModel(out).metadata["calibration"]?.object)
      #expect(calibration["reparameterised"]?.bool == isReparameterised)
      #expect(record.coordinates.isReparameterised == isReparameterised)
      #expect(calibration["settings"]?.object?["method"]?.string == record.settings.method.description)
      #expect(calibration["sample"]?.string == (readsText ? sample.identity : nil) && calibration["model"] != nil)
      #expect(calibration["products"]?.array?.count == 8 && record.bitsPerWeight == 8.25)
      #expect((calibration["norm_scales"] != nil) == (method == "slanc"))
      #expect(try AnchorModel(out).metadata["method"]?.string == "calibrate")
    }
  }

  @Test func anchorsAreSlicedAndFittedScalesAreNot() throws {
    let folder = try scratch.model(.shared), sample = try Calibrating.sample()
    try Calibrating.run(folder, Calibrating.settings("gptq", .mxint8), sample, out: scratch("anchor"))
    let whole = try Calibrating.load(scratch("anchor")), low = try Calibrating.load(scratch("anchor"), as: .mxint4)
    let distance = relativeError(try ReparameterisationTests.logits(low), try ReparameterisationTests.logits(whole))
    #expect(distance > 0 && distance.squareRoot() < 0.7)
    // One layer in 4 bits, whose scales are fitted: nothing can be cut any more, but the anchor runs.
    var settings = try Calibrating.settings("gptq", .mxint8)
    settings.allocation = ["model.layers.1.mlp.down_proj.weight": .mxint4]
    let record = try Calibrating.run(folder, settings, sample, out: scratch("fitted"))
    #expect(record.bitsPerWeight < 8.25 && record.bitsPerWeight > 7)
    #expect(try AnchorModel(scratch("fitted")).scales == .fitted)
    _ = try Calibrating.load(scratch("fitted"))
    Calibrating.refused("mxint4 cannot be cut", "floor") {
      _ = try Calibrating.load(scratch("fitted"), as: .mxint4)
    }
  }

  // MARK: Order and selection

  @Test func laterProductsSeeWhatRoundedOnesGive() throws {
    let folder = try scratch.model(.shared), sample = try Calibrating.sample()
    let all = try Calibrating.run(folder, Calibrating.settings("gptq", .mxint3), sample, out: scratch("all"))
    var settings = try Calibrating.settings("gptq", .mxint3)
    settings.selection.exclude = ["model.layers.*.self_attn.{q,k,v}_proj.weight"]
    let some = try Calibrating.run(folder, settings, sample, out: scratch("some"))
    #expect(all.figures.count == 8)
    #expect(some.figures.map(\.name) == all.figures.map(\.name).filter { !$0.contains("q_proj") })
    func error(_ record: CalibrationRecord) throws -> Double {
      try #require(record.figures.first { $0.name == "model.layers.0.self_attn.o_proj.weight" }?.outputError)
    }
    #expect(try error(all) != error(some))
    let anchor = try AnchorModel(scratch("some"))
    let source = try Calibrating.tensor("model.layers.1.self_attn.q_proj.weight", of: folder)
    #expect(anchor.storedFormat(of: "model.layers.1.self_attn.q_proj.weight") == nil)
    #expect(try Calibrating.tensor("model.layers.1.self_attn.q_proj.weight", of: scratch("some")) == source)
    #expect(anchor.storedFormat(of: "model.layers.1.self_attn.o_proj.weight") == "mxint3")
  }

  @Test func upstreamCorrectsWhatIsLeftOut() throws {
    let folder = try scratch.model(.shared), sample = try Calibrating.sample(sequences: 8, context: 32)
    let before = try ReparameterisationTests.logits(Calibrating.load(folder))
    func distance(_ method: String) throws -> Double {
      var settings = try Calibrating.settings(method, .mxint3)
      settings.selection.exclude = ["model.layers.1.mlp.{gate,up}_proj.weight"]
      try Calibrating.run(folder, settings, sample, out: scratch(method))
      return relativeError(try ReparameterisationTests.logits(Calibrating.load(scratch(method))), before)
    }
    let (plain, corrected) = (try distance("gptq"), try distance("upstream+gptq"))
    figure("logits at mxint3: gptq \(plain), with upstream \(corrected)")
    #expect(corrected.isFinite && corrected < 1.5 * plain)
  }
}
