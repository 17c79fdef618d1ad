import Calibration
import Checkpoints
import Communication
import Formats
import Foundation
import Tensors
import Testing
import Text
import Training
import Transformer

/// A run that starts from what a calibration has made trains that very model: its codes, its rotations, its scales.
@Suite struct CalibratedStartTests {
  static let starts: [(method: String, format: MXFormat)] = [
    ("gptq", .mxint8), ("gptq", .mxint4), ("quarot+gptq", .mxint4), ("quarot+awq", .mxint3), ("mr-gptq", .mxfp4),
    ("awq-clip+gptq", .mxint2),
  ]

  private func tokens(_ place: RunPlace) throws -> TokenStream {
    try TokenStream.open(
      [place("train.txt")], tokenizer: Tokenizer(contentsOf: place("model/tokenizer.json")), vocabulary: 264)
  }

  private func calibrate(_ place: RunPlace, _ method: String, _ format: MXFormat) throws -> AnchorModel {
    var settings = CalibrationSettings(try CalibrationMethod(method), format: format)
    settings.signSeed = 1
    let sample = try CalibrationSample(tokens(place), count: 12, context: 16, seed: 3)
    _ = try CalibrationRun(HuggingFaceFolder(place("model")), settings, sample: sample, on: .solo()).run(out: place("start"))
    return try AnchorModel(place("start"))
  }

  /// The loss of a model on the sequences of a run's first step.
  private func loss(_ model: AnchorModel, _ place: RunPlace) throws -> Double {
    let tokens = try tokens(place), plan = try BatchPlan(tokens, context: 16, seed: 7), arena = Arena("first step")
    let parameters = Parameters(model.configuration, in: arena)
    _ = try model.load(into: parameters, as: nil)
    let space = try Workspace(model.configuration, sequences: 12, length: 16, purpose: .inference, in: arena)
    for sequence in 0..<12 {
      let window = plan.tokens(window: plan.windowIndex(sample: sequence))
      for (t, place) in window.enumerated() {
        space.ids[16 * sequence + t] = tokens[place]
        space.targets[16 * sequence + t] = t < 15 ? tokens[place + 1] : -1
      }
    }
    DecoderModel.loss(parameters, space)
    return (0..<12 * 16).reduce(0.0) { $0 + Double(space.loss[$1]) } / Double(12 * 15)
  }

  @Test(arguments: starts.indices) func trainsWhatWasCalibrated(_ index: Int) throws {
    let (method, format) = Self.starts[index], place = try RunPlace()
    let start = try calibrate(place, method, format)
    let overrides = [
      "model.path=\(place("start"))", "quantization.formats=[\(format)]", "quantization.evaluate_formats=[]",
      "quantization.path=direct", "quantization.anchor=\(format)",
    ]
    try Runs.finish(place.settings("run", overrides), ranks: 2)

    // The rule `floor` finds fitted scales again, or finer ones: rounding what is rounded changes nothing.
    let first = try #require(place.metrics("run").first { $0.contains("\"step\":1,") })
    let value = try #require(try place.value("loss", of: first)), expected = try loss(start, place)
    #expect(abs(value - expected) < 1e-5 * expected, "\(method) \(format): \(value), the anchor has \(expected)")

    let end = try AnchorModel(place("run/anchor")), checkpoint = try CheckpointModel(place("run/checkpoints/step-000006"))
    #expect(end.configuration.transforms == start.configuration.transforms)
    #expect(end.coordinates == start.coordinates && checkpoint.coordinates == start.coordinates)
    #expect(start.coordinates.isReparameterised == (start.coordinates.fingerprint != nil))
    #expect(start.coordinates.isReparameterised == (method != "gptq"))
    #expect(try loss(end, place) < expected, "\(method) \(format)")

    try Runs.finish(place.settings("again", overrides))
    try place.crash("again", after: 3)
    try Runs.finish(place.settings("again", overrides), ranks: 3, resume: .newest)
    try ResumeTests.expectSameEnd(place, "again", "run")
  }

  /// Coordinates tell calibrations apart that rotate or scale differently, and only those.
  @Test func coordinatesOfCalibrations() throws {
    let place = try RunPlace()
    func coordinates(_ method: String, _ format: MXFormat, signs: UInt64 = 1) throws -> WeightCoordinates {
      var settings = CalibrationSettings(try CalibrationMethod(method), format: format)
      settings.signSeed = signs
      let out = place("anchor-\(method)-\(format)-\(signs)")
      let sample = try CalibrationSample(tokens(place), count: 12, context: 16, seed: 3)
      _ = try CalibrationRun(HuggingFaceFolder(place("model")), settings, sample: sample, on: .solo()).run(out: out)
      return try AnchorModel(out).coordinates
    }
    let rotated = try coordinates("quarot", .mxint4)
    #expect(rotated.isReparameterised)
    #expect(try coordinates("quarot+gptq", .mxint8) == rotated, "rounding changes no coordinates")
    #expect(try coordinates("quarot", .mxint4, signs: 2) != rotated)
    #expect(try coordinates("gptq", .mxint4) == WeightCoordinates())
    let scaled = try coordinates("awq", .mxint4)
    #expect(scaled.isReparameterised && scaled != rotated)
    #expect(try coordinates("smoothquant", .mxint4) != scaled)
    // Sites of a hadamard method stand in the configuration.
    #expect(try coordinates("hadamard", .mxint4) == coordinates("mr-gptq", .mxint4))
  }
}

extension RunPlace {
  /// A figure in a line of metrics.
  fileprivate func value(_ key: String, of line: String) throws -> Double? {
    guard let range = line.range(of: "\"\(key)\":") else { return nil }
    return Double(line[range.upperBound...].prefix { $0 != "," && $0 != "}" })
  }
}
