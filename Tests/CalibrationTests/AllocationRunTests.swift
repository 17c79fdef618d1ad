import Calibration
import Checkpoints
import Communication
import Formats
import Foundation
import TestSupport
import Testing
import Text
import Transformer

/// `--bits`: formats measured, chosen, calibrated.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)")) struct AllocationRunTests {
  private static func source() throws -> HuggingFaceFolder {
    try HuggingFaceFolder(SharedData.url("models/stories260K/hf").path)
  }

  private static func sample() throws -> CalibrationSample {
    let source = try source(), tokenizer = try Tokenizer(contentsOf: source.path + "/tokenizer.json")
    let text = try SharedData.data("golden/text/tinystories_200k.txt").prefix(20_000)
    return try CalibrationSample(.memory(tokenizer.encode(utf8: Array(text))), count: 8, context: 64, seed: 1)
  }

  private static func allocate(
    _ request: AllocationRequest, _ method: String = "gptq", ranks: Int = 1
  ) throws -> AllocationReport {
    try Communicator.onThreads(ranks) { communicator in
      let settings = CalibrationSettings(try CalibrationMethod(method), format: .mxint4)
      return try CalibrationRun.allocate(request, source(), settings, sample: sample(), on: communicator)
    }[0]
  }

  @Test func theSameOnAnyNumberOfRanks() throws {
    let request = AllocationRequest(bitsPerWeight: 4.5, windows: 4)
    let one = try Self.allocate(request)
    #expect(try Self.allocate(request) == one && Self.allocate(request, ranks: 3) == one)
    #expect(one.allocation.bitsPerWeight <= 4.5 && one.tokensScored == 4 * 63 && one.settings.noise == .blocks)
    let uniform = try #require(one.uniform.first { $0.format == .mxint4 })
    #expect(one.allocation.predicted <= uniform.predicted && uniform.bitsPerWeight <= 4.5)
    // Rotated weights have errors of their own, spread evenly.
    let rotated = try Self.allocate(request, "mr-gptq")
    #expect(rotated.settings.noise == .even && rotated.errors != one.errors)
    // The best scales have the smaller errors.
    #expect(zip(one.errors.squares, try Self.allocate(request, "rtn").errors.squares).allSatisfy { $0[0] <= $1[0] })
  }

  @Test func anInterruptedCalibrationChoosesAgainWhatItChose() throws {
    let place = FileManager.default.temporaryDirectory.path + "/allocation-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: place) }
    func calibrate(_ out: String, after unit: @escaping (Int) -> Void) throws -> (record: CalibrationRecord, resumed: Int) {
      var settings = CalibrationSettings(try CalibrationMethod("gptq"), format: .mxint4), resumed = 0
      let request = AllocationRequest(bitsPerWeight: 3.5, candidates: [.mxint2, .mxint3, .mxint4, .mxint6], windows: 3)
      let source = try Self.source(), sample = try Self.sample()
      let report = try CalibrationRun.allocate(request, source, settings, sample: sample, on: .solo())
      settings.adopt(report, of: source)
      let run = try CalibrationRun(source, settings, sample: sample, allocation: report, on: .solo()) { progress in
        if progress.isResumed { resumed += 1 }
        unit(progress.done)
      }
      return (try run.run(out: place + "/" + out), resumed)
    }
    let whole = try calibrate("whole") { done in
      guard done == 3 else { return }
      try? FileManager.default.copyItem(atPath: place + "/whole.calibration", toPath: place + "/again.calibration")
    }
    let again = try calibrate("again") { _ in }
    #expect(whole.resumed == 0 && again.resumed == 3)
    let anchor = try AnchorModel(place + "/whole"), other = try AnchorModel(place + "/again")
    #expect(anchor.metadata == other.metadata && anchor.quantized == other.quantized)
    let file = "/" + ContainerManifest.fileName
    #expect(FileManager.default.contentsEqual(atPath: place + "/whole" + file, andPath: place + "/again" + file))
    // The anchor has the formats, and says why.
    let plan = try #require(whole.record.allocation).plan
    #expect(anchor.quantized == plan.formats && anchor.mix.isMixed && anchor.format == anchor.mix.dominant)
    #expect(whole.record.bitsPerWeight <= 3.5)
    let says = anchor.metadata["calibration"]
    #expect(says?["allocation"]?.serialized() == whole.record.allocation?.json.serialized())
    #expect(try AllocationPlan(json: says?["settings"]?["allocation"] ?? .null, source: "metadata") == plan)
  }

  @Test func budgetsThatCannotBeMet() throws {
    func refused(_ request: AllocationRequest, _ parts: String..., method: String = "gptq") {
      var request = request
      if request.windows == 16 { request.windows = 1 }
      let error = #expect(throws: (any Error).self) { try Self.allocate(request, method) }
      let text = error.map { "\($0)" } ?? ""
      for part in parts { #expect(text.contains(part), "\(text)") }
    }
    refused(AllocationRequest(bitsPerWeight: 2), "the budget of 2.0 is less than 2.", "mxint2", "--choices")
    refused(AllocationRequest(bitsPerWeight: 9), "the budget of 9.0 is more than 8.", "--format mxint8")
    refused(AllocationRequest(bitsPerWeight: 5, candidates: [.mxint3, .mxint4]), "mxint4 takes everywhere")
    refused(AllocationRequest(bitsPerWeight: .nan), "expected a positive number")
    refused(AllocationRequest(bitsPerWeight: 4, candidates: [.mxint3, .mxint3]), "each once")
    refused(AllocationRequest(bitsPerWeight: 4, windows: 9), "9, the sample has 8 sequences")
    // The smallest and the largest themselves can be met.
    let least = try Self.allocate(AllocationRequest(bitsPerWeight: 8, windows: 1)).uniform
    for one in [least[0], least[6]] {
      let all = try Self.allocate(AllocationRequest(bitsPerWeight: one.bitsPerWeight, windows: 1)).allocation
      #expect(Set(all.formats) == [one.format])
    }
  }
}
