import Calibration
import Communication
import Evaluation
import Formats
import Foundation
import Tensors
import TestSupport
import Testing
import Text
import Transformer

/// What calibration is for, on a model that was trained: stories260K, 32 sequences of 256 tokens, 16 unseen ones.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)")) struct CalibrationEffectTests {
  static let context = 256
  let scratch: CalibrationScratch
  let folder: String
  let sample: CalibrationSample
  private let unseen: [Int32]

  init() throws {
    scratch = try CalibrationScratch()
    folder = SharedData.url("models/stories260K/hf").path
    let tokenizer = try Tokenizer(contentsOf: folder + "/tokenizer.json")
    let text = try SharedData.data("golden/text/tinystories_200k.txt").prefix(80_000)
    let ids = try tokenizer.encode(utf8: Array(text))
    unseen = Array(ids.suffix(16 * Self.context))
    sample = try CalibrationSample(
      .memory(Array(ids.dropLast(16 * Self.context))), count: 32, context: Self.context, seed: 0)
  }

  private func calibrate(
    _ method: String, _ format: MXFormat, changing change: (inout CalibrationSettings) -> Void = { _ in },
    to name: String
  ) throws -> CalibrationRecord {
    var settings = try Calibrating.settings(method, format)
    change(&settings)
    return try Calibrating.run(folder, settings, sample, out: scratch(name))
  }

  private func score(_ path: String, as format: MXFormat? = nil, against reference: Parameters? = nil) throws -> Score {
    let parameters = try Calibrating.load(path, as: format)
    let evaluator = try Evaluator(
      parameters.configuration, context: Self.context, sequences: 8, comparesWith: reference?.configuration)
    return try evaluator.score(parameters, tokens: unseen, reference: reference)
  }

  @Test(arguments: [MXFormat.mxint4, .mxint3])
  func errorFeedbackBeatsRoundingToNearest(_ format: MXFormat) throws {
    let source = try score(folder).nll
    _ = try calibrate("rtn", format, to: "rtn")
    let nearest = try score(scratch("rtn")).nll
    for method in ["gptq", "gptq-block", "mr-gptq", "upstream+gptq"] {
      let record = try calibrate(method, format, to: method)
      for figures in record.figures {
        let (error, nearest) = (try #require(figures.outputError), try #require(figures.nearestError))
        #expect(error < nearest, "\(method) \(format) \(figures.name): \(error), to nearest \(nearest)")
      }
      let calibrated = try score(scratch(method)).nll
      figure("stories260K \(format): fp32 \(source), rtn \(nearest), \(method) \(calibrated)")
      #expect(source < calibrated && calibrated < nearest, "\(method) \(format): \(calibrated), rtn \(nearest)")
    }
  }

  @Test func anAnchorForItsSlicesHasBetterSlices() throws {
    let reference = try Calibrating.load(folder)
    func distances(_ name: String) throws -> (high: Double, low: Double) {
      (
        try #require(score(scratch(name), against: reference).kl),
        try #require(score(scratch(name), as: .mxint4, against: reference).kl)
      )
    }
    _ = try calibrate("gptq", .mxint8, to: "plain")
    _ = try calibrate(
      "gptq", .mxint8, changing: { $0.targets = [RoundingTarget(.mxint8), RoundingTarget(.mxint4)] }, to: "aimed")
    let (plain, aimed) = (try distances("plain"), try distances("aimed"))
    figure("KL of mxint8 and its mxint4: plain \(plain), with targets \(aimed)")
    #expect(aimed.low < plain.low)
    #expect(plain.high < plain.low && aimed.high < aimed.low)
  }
}
